"""An emulated account of AWS, whose answers a test of `berth preflight` can replace."""

from collections.abc import Container, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from berth.platforms.aws import reach
from berth.platforms.aws.preflight_checks import CHECKS, Subject
from berth.platforms.aws.quotas import read_quotas
from berth.platforms.aws.reach import Caller
from berth.platforms.preflight import Finding
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
from pulumi_berth.aws_identity import AwsIdentity
from tests.unit.spec_file import changed, config_of

ADDRESS = "203.0.113.7"
USER = "arn:aws:iam::123456789012:user/ann"
ROLE = "arn:aws:iam::123456789012:role/ci/deployer"
# A real account returns the values of these quotas; a new one has none for GPUs.
VALUES = {key: float(quota.default or 0) for key, quota in read_quotas().items()}
LARGE_QUOTAS = dict.fromkeys(VALUES, 10_000.0)


@pytest.fixture
def empty_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in an empty account of an in-process emulator."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reach, "find_caller", lambda _: Caller(public=ADDRESS, local=None))
    with mock_aws():
        yield


def build_context(tmp_path: Path, changes: dict[Any, Any] | None = None) -> StackContext:
    path = tmp_path / "Pulumi.dev.yaml"
    default = {"cluster.public_cidrs": [f"{ADDRESS}/32"]}
    path.write_text(changed(config_of("dev"), default | (changes or {})))
    return StackContext(root=tmp_path, stack="dev", spec=load_file(path))


def run_check(check: str, context: StackContext) -> list[Finding]:
    return list(CHECKS[check](Subject(context=context, identity=AwsIdentity())))


def replace_clients(monkeypatch: pytest.MonkeyPatch, **clients: Any) -> None:
    """Return other clients for some services, such as those that the emulator does not have."""
    create = Subject.client
    fakes = {name.replace("_", "-"): client for name, client in clients.items()}

    def client(self: Subject, service: str, region: str | None = None) -> Any:
        return fakes[service] if service in fakes else create(self, service, region)

    monkeypatch.setattr(Subject, "client", client)


class ServiceQuotas:
    """An account that lists the quotas with these values, each Region's its own, in two pages."""

    def __init__(self, values: dict[str, float], listed: Container[str] | None) -> None:
        self._values = values
        self._listed = listed
        self.requests: list[tuple[str, str]] = []

    def in_region(self, region: str) -> Any:
        def paginate(ServiceCode: str, **_: Any) -> Iterator[Any]:  # noqa: N803 - boto3's name
            if self._listed is not None and ServiceCode not in self._listed:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListServiceQuotas")
            listed = [
                {"QuotaCode": quota.code, "Value": self._values[key]}
                for key, quota in read_quotas().items()
                if quota.service == ServiceCode
                and key in self._values
                and region == (quota.region or "eu-central-1")
            ]
            for page in (listed[:1], listed[1:]):
                self.requests.append((region, ServiceCode))
                yield {"Quotas": page}

        return SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))


def replace_quotas(
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, float],
    listed: Container[str] | None = None,
) -> ServiceQuotas:
    """Return other quotas than the emulator, which cannot list any.

    Args:
        listed: The services that the account lists. Defaults to all.
    """
    quotas, create = ServiceQuotas(values, listed), Subject.client

    def client(self: Subject, service: str, region: str | None = None) -> Any:
        if service == "service-quotas":
            return quotas.in_region(region or self.region)
        return create(self, service, region)

    monkeypatch.setattr(Subject, "client", client)
    return quotas
