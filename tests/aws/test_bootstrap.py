"""`berth bootstrap`, and a Pulumi stack kept where it says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.repository import PACKAGES, REPOSITORY

_SECONDS = 120
_BUCKET = f"berth-state-{ACCOUNT}-{REGION}"
_AFTERWARDS_CHANGED = "eu-central-1"
_KEY_GIVEN_UP = "eu-west-2"
_UNTOUCHED = "eu-west-3"
_KEPT = "berth-state-of-a-test"
_LOCK = ".pulumi/locks/organization/kept/prod/somebody.json"


def _environment(aws: Emulation, **further: str) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PULUMI", "AWS"))
    }
    return {
        **kept,
        **aws.environment(),
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "PYTHONPATH": PACKAGES,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        **further,
    }


def _run(*arguments: str, environment: dict[str, str], folder: Path, code: int = 0) -> str:
    done = subprocess.run(
        arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def _berth(aws: Emulation, *arguments: str, code: int = 0, **environment: str) -> str:
    command = [sys.executable, "-m", "berth", "bootstrap", *arguments]
    return _run(
        *command, environment=_environment(aws, **environment), folder=REPOSITORY, code=code
    )


def _json(aws: Emulation, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(_berth(aws, "--json", *arguments)))


def _did(shown: dict[str, Any], did: str) -> list[str]:
    return [step["what"] for step in shown["steps"] if step["did"] == did]


@pytest.fixture(scope="module")
def made(aws: Emulation) -> dict[str, Any]:
    return _json(aws, "--region", REGION)


def test_it_makes_a_bucket_and_two_keys(made: dict[str, Any]) -> None:
    assert _did(made, "made") == [
        "key alias/berth-state", f"bucket {_BUCKET}", "key alias/berth-secrets",
    ]  # fmt: skip
    assert made["changed"] is True
    assert made["backend_url"] == f"s3://{_BUCKET}?region={REGION}&awssdk=v2"
    assert made["secrets_provider"] == f"awskms://alias/berth-secrets?region={REGION}"


def test_a_second_run_changes_nothing(made: dict[str, Any], aws: Emulation) -> None:
    again = _json(aws, "--region", REGION)
    assert again["changed"] is False
    assert again["steps"]
    assert {step["did"] for step in again["steps"]} == {"found"}
    assert again["backend_url"] == made["backend_url"]


def test_the_bucket_is_closed_versioned_and_encrypted(made: dict[str, Any], aws: Emulation) -> None:
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
    assert [one["Sid"] for one in policy["Statement"]] == [
        "RequireTls", "RequireKmsKey", "DenyCustomerProvidedKey",
    ]  # fmt: skip


def test_each_key_is_another_and_rotates(made: dict[str, Any], aws: Emulation) -> None:
    kms = aws.client("kms")
    keys = {
        kms.describe_key(KeyId=f"alias/berth-{name}")["KeyMetadata"]["Arn"]
        for name in ("state", "secrets")
    }
    assert len(keys) == 2
    for key in keys:
        assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True


def test_what_was_changed_is_put_right_and_the_rest_stays(aws: Emulation) -> None:
    name = _json(aws, "--region", _AFTERWARDS_CHANGED)["bucket"]
    s3, kms = aws.client("s3", _AFTERWARDS_CHANGED), aws.client("kms", _AFTERWARDS_CHANGED)
    s3.delete_public_access_block(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    somebodys = {
        "Sid": "Somebodys", "Effect": "Deny", "Principal": {"AWS": "*"},
        "Action": "s3:DeleteBucket", "Resource": f"arn:aws:s3:::{name}",
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Statement": [somebodys]}))
    state_key = kms.describe_key(KeyId="alias/berth-state")["KeyMetadata"]["KeyId"]
    kms.disable_key_rotation(KeyId=state_key)

    assert _did(_json(aws, "--region", _AFTERWARDS_CHANGED), "changed") == [
        "rotation of alias/berth-state", f"public access block of {name}",
        f"versioning of {name}", f"policy of {name}",
    ]  # fmt: skip
    policy = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
    assert policy["Statement"][0] == somebodys
    assert len(policy["Statement"]) == 4
    assert _json(aws, "--region", _AFTERWARDS_CHANGED)["changed"] is False


@pytest.mark.parametrize("name", ["ab", "Upper", "a.b.c", "-ab", "a" * 64])
def test_a_name_that_cannot_be_is_told_at_once(aws: Emulation, name: str) -> None:
    said = _berth(aws, "--region", REGION, "--bucket", name, code=2)
    assert "3 to 63 lower-case letters" in said


def test_a_bucket_elsewhere_is_left_and_nothing_is_made(
    made: dict[str, Any], aws: Emulation
) -> None:
    said = _berth(aws, "--region", _UNTOUCHED, "--bucket", _BUCKET, code=1)
    assert f"bucket {_BUCKET} lies in {REGION}, not in {_UNTOUCHED}: --region {REGION}" in said
    assert aws.client("kms", _UNTOUCHED).list_keys()["Keys"] == []


def test_a_key_on_its_way_out_is_told(aws: Emulation) -> None:
    kms = aws.client("kms", _KEY_GIVEN_UP)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/berth-state", TargetKeyId=key)
    kms.schedule_key_deletion(KeyId=key)
    said = _berth(aws, "--region", _KEY_GIVEN_UP, code=1)
    assert f"aws kms cancel-key-deletion --region {_KEY_GIVEN_UP}" in said


def test_without_credentials_or_region_it_says_what_to_do(aws: Emulation, tmp_path: Path) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    said = _berth(aws, "--region", REGION, code=1, **nobody)
    assert "no AWS credentials" in said
    assert "aws sso login" in said
    assert "--region eu-central-1" in _berth(aws, code=1, HOME=str(tmp_path))


@pytest.fixture(scope="module")
def project(
    aws: Emulation, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A Pulumi project whose stack was made with the two lines, as a shell runs them."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "Pulumi.yaml").write_text("name: kept\nruntime: python\n")
    (folder / "__main__.py").write_text(
        "import pulumi\npulumi.export('word', pulumi.Config().require_secret('word'))\n"
    )
    lines = _berth(aws, "--region", REGION, "--bucket", _KEPT).splitlines()[-2:]
    # The emulator has no TLS, and holds to what a policy denies whatever its conditions.
    aws.client("s3").delete_bucket_policy(Bucket=_KEPT)
    script = "\n".join(["set -e", *lines, 'printf %s "$PULUMI_BACKEND_URL" > url'])
    _run("bash", "-c", script, environment=_environment(aws), folder=folder)
    environment = _environment(aws, PULUMI_BACKEND_URL=(folder / "url").read_text())
    secret = _pulumi("config", "set", "--secret", "word", "heron")
    _run(*secret, environment=environment, folder=folder)
    return folder, environment


def _pulumi(*arguments: str) -> list[str]:
    return ["pulumi", "--non-interactive", *arguments, "--stack", "prod"]


def test_a_stack_is_kept_there_with_its_secrets_encrypted(
    project: tuple[Path, dict[str, str]], aws: Emulation
) -> None:
    folder, environment = project
    _run(*_pulumi("up", "--yes", "--skip-preview"), environment=environment, folder=folder)
    _run(*_pulumi("preview", "--expect-no-changes"), environment=environment, folder=folder)
    asked = _pulumi("stack", "output", "word", "--show-secrets")
    word = _run(*asked, environment=environment, folder=folder)
    assert word.strip() == "heron"
    kept = aws.client("s3").get_object(Bucket=_KEPT, Key=".pulumi/stacks/kept/prod.json")
    state = kept["Body"].read().decode()
    assert "awskms://alias/berth-secrets" in state
    assert "heron" not in state
    assert "passphrase" not in state


def test_a_lock_in_the_bucket_holds_others_off(
    project: tuple[Path, dict[str, str]], aws: Emulation
) -> None:
    folder, environment = project
    s3 = aws.client("s3")
    lock = {"pid": 1, "username": "ann", "hostname": "there", "timestamp": "2026-01-02T03:04:05Z"}
    s3.put_object(Bucket=_KEPT, Key=_LOCK, Body=json.dumps(lock))
    said = _run(*_pulumi("up", "--yes"), environment=environment, folder=folder, code=1)
    assert "locked by 1 lock(s)" in said
    assert "ann@there" in said
    _run(*_pulumi("cancel", "--yes"), environment=environment, folder=folder)
    _run(*_pulumi("up", "--yes"), environment=environment, folder=folder)
