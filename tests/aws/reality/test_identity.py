"""The provider, the cluster's token and the registry login use the same AWS identity."""

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws
from pulumi.dynamic import ConfigureRequest
from pulumi.dynamic.config import Config

from berth.cli.main import main
from berth.platforms.aws.access import build_kubeconfig
from berth.spec import SpecError, load_file
from pulumi_berth import aws_identity
from pulumi_berth.aws_identity import AwsIdentity, parse_identity, read_identity
from pulumi_berth.oci import ecr
from pulumi_berth.providers import BuiltImageProvider
from tests.aws.reality.declared import CONFIGURED, ROLE, declare
from tests.repository import REPOSITORY, SOURCES
from tests.unit.spec_file import changed, config_of

_ACCOUNT = "210987654321"
_SETTINGS = {name: value for name, value in CONFIGURED.items() if name.startswith("aws:")}
_HOST = f"{_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com"


@pytest.fixture(autouse=True)
def _profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Configure the profile `work`, and reset the identity of this process."""
    credentials = tmp_path / "credentials"
    credentials.write_text(
        "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = w\n"
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = d\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(aws_identity, "_current", None)
    ecr._log_in.cache_clear()


def _read(settings: dict[str, Any]) -> AwsIdentity:
    return read_identity({key.partition(":")[2]: value for key, value in settings.items()})


def _read_token(identity: AwsIdentity) -> dict[str, list[str]]:
    """Return the signed parameters of the token that the kubeconfig's command prints."""
    kubeconfig = build_kubeconfig(
        name="berth-dev",
        region="eu-central-1",
        endpoint="https://cluster",
        authority="",
        identity=identity,
    )
    (user,) = kubeconfig["users"]
    command = user["user"]["exec"]
    assert command["command"] == "berth"
    result = CliRunner().invoke(main, command["args"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    credential = json.loads(result.output)
    assert credential["apiVersion"] == command["apiVersion"]
    prefix, _, encoded = credential["status"]["token"].partition(".")
    assert prefix == "k8s-aws-v1"
    url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    assert urlsplit(url).hostname == "sts.eu-central-1.amazonaws.com"
    return parse_qs(urlsplit(url).query)


@pytest.mark.slow
def test_provider_uses_the_profile_and_the_roles_of_the_stack() -> None:
    (provider,) = (
        one for one in declare("dev", **CONFIGURED) if one["type"] == "pulumi:providers:aws"
    )
    assert provider["inputs"]["profile"] == "work"
    assert json.loads(provider["inputs"]["assumeRoles"]) == [
        {"roleArn": ROLE, "externalId": "partner"}
    ]


def test_token_is_signed_by_the_profile_for_the_cluster() -> None:
    parameters = _read_token(_read({"aws:profile": "work"}))
    assert parameters["X-Amz-Credential"][0].startswith("AKIAWORK/")
    assert parameters["Action"] == ["GetCallerIdentity"]
    assert "x-k8s-aws-id" in parameters["X-Amz-SignedHeaders"][0]
    assert _read_token(AwsIdentity())["X-Amz-Credential"][0].startswith("AKIADEFAULT/")


@mock_aws
def test_token_is_signed_by_the_role_that_the_stack_assumes() -> None:
    parameters = _read_token(_read(_SETTINGS))
    assert parameters["X-Amz-Credential"][0].startswith("ASIA")
    assert parameters["X-Amz-Security-Token"]


@mock_aws
def test_roles_are_assumed_one_after_the_other() -> None:
    second = ROLE.replace("deployer", "second")
    roles = {"aws:assumeRoles": [{"roleArn": ROLE}, {"roleArn": second, "sessionName": "update"}]}
    caller = _read(roles).create_client("sts", region="eu-central-1").get_caller_identity()
    assert caller["Arn"] == f"arn:aws:sts::{_ACCOUNT}:assumed-role/second/update"


@mock_aws
def test_role_is_assumed_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str | None] = []
    open_session = AwsIdentity.open_session

    def count(self: AwsIdentity, region: str | None = None) -> Any:
        opened.append(region)
        return open_session(self, region)

    monkeypatch.setattr(AwsIdentity, "open_session", count)
    identity = _read(_SETTINGS)
    for service, region in (("sts", "eu-central-1"), ("iam", "eu-central-1"), ("iam", "us-east-1")):
        assert identity.create_client(service, region=region).meta.service_model
    assert opened == ["eu-central-1", "us-east-1"]


@mock_aws
def test_registry_login_in_the_provider_of_images_uses_the_roles_of_the_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[str] = []
    create = AwsIdentity.create_client

    def record(self: AwsIdentity, service: str, **options: Any) -> Any:
        client = create(self, service, **options)
        arn = create(self, "sts", **options).get_caller_identity()["Arn"]
        used.append(f"{service} {arn}")
        return client

    monkeypatch.setattr(AwsIdentity, "create_client", record)
    # Pulumi passes lists of the configuration as JSON text.
    config = {key: value if isinstance(value, str) else json.dumps(value)
              for key, value in _SETTINGS.items()}  # fmt: skip
    BuiltImageProvider().configure(ConfigureRequest(Config(config, "project")))
    assert ecr.ecr_login(_HOST) is not None
    assert used == [f"ecr arn:aws:sts::{_ACCOUNT}:assumed-role/deployer/berth"]


def test_identity_survives_its_document_and_contains_no_secret() -> None:
    identity = _read({**_SETTINGS, "aws:endpoints": [{"sts": "http://127.0.0.1:1"}]})
    assert parse_identity(json.loads(json.dumps(identity.describe()))) == identity
    assert _read({"aws:accessKey": "a", "aws:secretKey": "b"}).describe() == {}
    assert identity.endpoints == {"sts": "http://127.0.0.1:1"}


@pytest.mark.parametrize("setting", ["accessKey", "token", "sharedCredentialsFiles"])
def test_credentials_that_only_the_provider_has_are_refused(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(changed(config_of("dev"), {(f"aws:{setting}",): "x"}))
    with pytest.raises(SpecError, match=f"cannot be used with aws:{setting}"):
        load_file(path)


@mock_aws
def test_boto3_alone_would_use_another_identity() -> None:
    """Show that the tests tell the identities apart."""
    caller = boto3.client("sts", region_name="eu-central-1").get_caller_identity()
    assert "deployer" not in caller["Arn"]


def test_kubeconfig_of_a_stack_has_a_command_and_no_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    described = {"endpoint": "https://eks.test", "certificateAuthority": {"data": "Q0E="}}
    eks = SimpleNamespace(describe_cluster=lambda name: {"cluster": {"name": name, **described}})
    monkeypatch.setattr(AwsIdentity, "create_client", lambda *_, **__: eks)
    monkeypatch.chdir(REPOSITORY)
    result = CliRunner().invoke(main, ["kubeconfig", "-s", "dev"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert document["clusters"][0]["cluster"]["server"] == "https://eks.test"
    (user,) = document["users"]
    assert set(user["user"]) == {"exec"}
    assert user["user"]["exec"]["args"][-4:] == [
        "cluster-token", "berth-dev", "--region", "eu-central-1",
    ]  # fmt: skip
    refused = CliRunner().invoke(main, ["kubeconfig", "-s", "local"])
    assert refused.exit_code == 2
    assert "only a stack on aws creates its cluster" in " ".join(refused.output.split())


def test_no_message_tells_the_user_to_run_the_aws_command() -> None:
    """Berth works without it. The one exception is a way to sign in that only it has."""
    command = re.compile(r"['`]aws (?!sso login)[a-z0-9-]+ [a-z]")
    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for name in SOURCES
        for path in sorted((REPOSITORY / name).rglob("*.py"))
        for line in path.read_text().splitlines()
        if command.search(line)
    ]
    assert found == []
