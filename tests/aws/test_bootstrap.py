"""`berth bootstrap`, and a Pulumi stack that uses the backend that it creates."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from berth.operations.past_states import read_past_state
from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.repository import PACKAGES, REPOSITORY

_SECONDS = 120
_BUCKET = f"berth-state-{ACCOUNT}-{REGION}"
_REPAIRED_REGION = "eu-central-1"
_DELETED_KEY_REGION = "eu-west-2"
_EMPTY_REGION = "eu-west-3"
_PROJECT_BUCKET = "berth-state-of-a-test"
_LOCK = ".pulumi/locks/organization/kept/prod/another.json"


def _environment(aws: Emulation, **overrides: str) -> dict[str, str]:
    base = {
        key: value for key, value in os.environ.items() if not key.startswith(("PULUMI", "AWS"))
    }
    return {
        **base,
        **aws.environment(),
        "PATH": f"{Path(sys.executable).parent}:{base['PATH']}",
        "PYTHONPATH": PACKAGES,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        **overrides,
    }


def _run(*arguments: str, environment: dict[str, str], folder: Path, code: int = 0) -> str:
    result = subprocess.run(
        arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout if code == 0 else result.stderr


def _berth(aws: Emulation, *arguments: str, code: int = 0, **environment: str) -> str:
    command = [sys.executable, "-m", "berth", "bootstrap", *arguments]
    return _run(
        *command, environment=_environment(aws, **environment), folder=REPOSITORY, code=code
    )


def _json(aws: Emulation, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(_berth(aws, "--json", *arguments)))


def _targets(document: dict[str, Any], action: str) -> list[str]:
    return [step["target"] for step in document["steps"] if step["action"] == action]


@pytest.fixture(scope="module")
def backend(aws: Emulation) -> dict[str, Any]:
    return _json(aws, "--region", REGION)


def test_first_run_creates_bucket_and_two_keys(backend: dict[str, Any]) -> None:
    assert _targets(backend, "created") == [
        "key alias/berth-state", f"bucket {_BUCKET}", "key alias/berth-secrets",
    ]  # fmt: skip
    assert backend["changed"] is True
    assert backend["backend_url"] == f"s3://{_BUCKET}?region={REGION}&awssdk=v2"
    assert backend["secrets_provider"] == f"awskms://alias/berth-secrets?region={REGION}"


def test_second_run_changes_nothing(backend: dict[str, Any], aws: Emulation) -> None:
    again = _json(aws, "--region", REGION)
    assert again["changed"] is False
    assert again["steps"]
    assert {step["action"] for step in again["steps"]} == {"unchanged"}
    assert again["backend_url"] == backend["backend_url"]


def test_bucket_is_private_versioned_and_encrypted(backend: dict[str, Any], aws: Emulation) -> None:
    s3 = aws.client("s3")
    blocked = s3.get_public_access_block(Bucket=_BUCKET)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}
    assert s3.get_bucket_versioning(Bucket=_BUCKET)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=_BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    key = aws.client("kms").describe_key(KeyId="alias/berth-state")["KeyMetadata"]["Arn"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key
    assert rule["BucketKeyEnabled"] is True
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=_BUCKET)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    policy = json.loads(s3.get_bucket_policy(Bucket=_BUCKET)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == [
        "RequireTls", "RequireKmsKey", "DenyCustomerProvidedKey",
    ]  # fmt: skip


def test_state_and_secrets_have_separate_rotating_keys(
    backend: dict[str, Any], aws: Emulation
) -> None:
    kms = aws.client("kms")
    keys = {
        kms.describe_key(KeyId=f"alias/berth-{name}")["KeyMetadata"]["Arn"]
        for name in ("state", "secrets")
    }
    assert len(keys) == 2
    for key in keys:
        assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True


def test_rerun_repairs_settings_and_keeps_other_rules(aws: Emulation) -> None:
    name = _json(aws, "--region", _REPAIRED_REGION)["bucket"]
    s3, kms = aws.client("s3", _REPAIRED_REGION), aws.client("kms", _REPAIRED_REGION)
    s3.delete_public_access_block(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    foreign = {
        "Sid": "Foreign", "Effect": "Deny", "Principal": {"AWS": "*"},
        "Action": "s3:DeleteBucket", "Resource": f"arn:aws:s3:::{name}",
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Statement": [foreign]}))
    state_key = kms.describe_key(KeyId="alias/berth-state")["KeyMetadata"]["KeyId"]
    kms.disable_key_rotation(KeyId=state_key)

    assert _targets(_json(aws, "--region", _REPAIRED_REGION), "changed") == [
        "rotation of alias/berth-state", f"public access block of {name}",
        f"versioning of {name}", f"policy of {name}",
    ]  # fmt: skip
    policy = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
    assert policy["Statement"][0] == foreign
    assert len(policy["Statement"]) == 4
    assert _json(aws, "--region", _REPAIRED_REGION)["changed"] is False


@pytest.mark.parametrize("name", ["ab", "Upper", "a.b.c", "-ab", "a" * 64])
def test_invalid_bucket_name_is_rejected(aws: Emulation, name: str) -> None:
    error = _berth(aws, "--region", REGION, "--bucket", name, code=2)
    assert "3 to 63 lower-case letters" in error


def test_bucket_in_another_region_is_rejected_and_nothing_is_created(
    backend: dict[str, Any], aws: Emulation
) -> None:
    error = _berth(aws, "--region", _EMPTY_REGION, "--bucket", _BUCKET, code=1)
    assert (
        f"Bucket '{_BUCKET}' is in {REGION}, not in {_EMPTY_REGION}. Add --region {REGION}" in error
    )
    assert aws.client("kms", _EMPTY_REGION).list_keys()["Keys"] == []


def test_key_scheduled_for_deletion_is_restored_only_on_request(aws: Emulation) -> None:
    kms = aws.client("kms", _DELETED_KEY_REGION)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/berth-state", TargetKeyId=key)
    kms.schedule_key_deletion(KeyId=key)
    error = _berth(aws, "--region", _DELETED_KEY_REGION, code=1)
    assert "Everything that it encrypts would be lost" in error
    assert "run the same command with --restore-keys" in error
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    restored = _json(aws, "--region", _DELETED_KEY_REGION, "--restore-keys")
    assert _targets(restored, "changed") == [
        "key alias/berth-state", "rotation of alias/berth-state",
    ]  # fmt: skip
    assert kms.describe_key(KeyId="alias/berth-state")["KeyMetadata"]["KeyState"] == "Enabled"
    assert kms.describe_key(KeyId="alias/berth-state")["KeyMetadata"]["KeyId"] == key


def test_missing_credentials_and_region_are_reported(aws: Emulation, tmp_path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    error = _berth(aws, "--region", REGION, code=1, **environment)
    assert "No AWS credentials" in error
    assert "aws sso login" in error
    assert "--region eu-central-1" in _berth(aws, code=1, HOME=str(tmp_path))


@pytest.fixture(scope="module")
def project(
    aws: Emulation, backend: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A Pulumi project whose stack was created with the two printed commands in a shell.

    `backend` comes first, in any order of the tests, because it is the first run in its Region.
    """
    assert backend
    folder = tmp_path_factory.mktemp("kept")
    (folder / "Pulumi.yaml").write_text("name: kept\nruntime: python\n")
    (folder / "__main__.py").write_text(
        "import pulumi\npulumi.export('word', pulumi.Config().require_secret('word'))\n"
        "pulumi.export('bird', pulumi.Config().get('bird'))\n"
    )
    lines = _berth(aws, "--region", REGION, "--bucket", _PROJECT_BUCKET).splitlines()[-2:]
    # The emulator has no TLS, and applies a policy's denials regardless of their conditions.
    aws.client("s3").delete_bucket_policy(Bucket=_PROJECT_BUCKET)
    script = "\n".join(["set -e", *lines, 'printf %s "$PULUMI_BACKEND_URL" > url'])
    _run("bash", "-c", script, environment=_environment(aws), folder=folder)
    environment = _environment(aws, PULUMI_BACKEND_URL=(folder / "url").read_text())
    secret = _pulumi("config", "set", "--secret", "word", "heron")
    _run(*secret, environment=environment, folder=folder)
    return folder, environment


def _pulumi(*arguments: str) -> list[str]:
    return ["pulumi", "--non-interactive", *arguments, "--stack", "prod"]


def test_stack_state_is_stored_with_encrypted_secrets(
    project: tuple[Path, dict[str, str]], aws: Emulation
) -> None:
    folder, environment = project
    _run(*_pulumi("up", "--yes", "--skip-preview"), environment=environment, folder=folder)
    _run(*_pulumi("preview", "--expect-no-changes"), environment=environment, folder=folder)
    command = _pulumi("stack", "output", "word", "--show-secrets")
    word = _run(*command, environment=environment, folder=folder)
    assert word.strip() == "heron"
    stored = aws.client("s3").get_object(
        Bucket=_PROJECT_BUCKET, Key=".pulumi/stacks/kept/prod.json"
    )
    state = stored["Body"].read().decode()
    assert "awskms://alias/berth-secrets" in state
    assert "heron" not in state
    assert "passphrase" not in state


def test_lock_in_bucket_rejects_concurrent_updates(
    project: tuple[Path, dict[str, str]], aws: Emulation
) -> None:
    folder, environment = project
    s3 = aws.client("s3")
    lock = {"pid": 1, "username": "ann", "hostname": "there", "timestamp": "2026-01-02T03:04:05Z"}
    s3.put_object(Bucket=_PROJECT_BUCKET, Key=_LOCK, Body=json.dumps(lock))
    error = _run(*_pulumi("up", "--yes"), environment=environment, folder=folder, code=1)
    assert "locked by 1 lock(s)" in error
    assert "ann@there" in error
    _run(*_pulumi("cancel", "--yes"), environment=environment, folder=folder)
    _run(*_pulumi("up", "--yes"), environment=environment, folder=folder)


def test_past_states_in_the_bucket_are_read(
    project: tuple[Path, dict[str, str]], aws: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`berth rollback --check` reads in them what an earlier release ran."""
    folder, environment = project
    numbers = []
    for bird in ("wren", "crow"):
        up = _pulumi("up", "--yes", "--skip-preview", "--config", f"bird={bird}")
        _run(*up, environment=environment, folder=folder)
        history = _run(
            *_pulumi("stack", "history", "--json"), environment=environment, folder=folder
        )
        numbers.append(len(json.loads(history)))
    for name in ("PULUMI_BACKEND_URL", *aws.environment()):
        monkeypatch.setenv(name, environment[name])
    states = [read_past_state(folder, "prod", number) for number in numbers]
    assert [state and state.outputs["bird"] for state in states] == ["wren", "crow"]
    assert states[0] is not None
    assert "heron" not in json.dumps(states[0].resources)
    assert read_past_state(folder, "prod", numbers[-1] + 1) is None
    assert read_past_state(folder, "other", 1) is None
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://missing-bucket-of-a-test?region=us-east-1")
    assert read_past_state(folder, "prod", numbers[0]) is None
