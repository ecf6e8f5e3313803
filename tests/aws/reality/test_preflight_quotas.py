"""`berth preflight`: quotas of an account that are too low for the stack, found before."""

from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError

from berth.platforms.aws.quotas import read_quotas
from berth.platforms.preflight import Status
from tests.aws.reality.preflight_account import (
    LARGE_QUOTAS,
    ROLE,
    build_context,
    empty_account,
    replace_clients,
    replace_quotas,
    run_check,
)

pytestmark = pytest.mark.usefixtures("empty_account")
__all__ = ["empty_account"]


def test_quota_of_a_new_account_stops_the_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = LARGE_QUOTAS | {"standard_spot_vcpus": 3.0}
    replace_quotas(monkeypatch, values)
    failed = [
        one for one in run_check("quotas", build_context(tmp_path)) if one.status is Status.FAILED
    ]
    (finding,) = failed
    assert "Spot" in finding.detail
    assert "Request 4 at https://eu-central-1.console.aws.amazon.com/" in finding.detail


def test_used_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated account has a default VPC."""
    replace_quotas(monkeypatch, LARGE_QUOTAS | {"vpcs": 1.0})
    found = run_check("quotas", build_context(tmp_path))
    assert [one.status for one in found] == [Status.FAILED]
    assert "VPCs per Region" in found[0].detail
    boto3.client("eks", "eu-central-1").create_cluster(
        name="berth-dev", roleArn=ROLE, resourcesVpcConfig={}
    )
    deployed = run_check("quotas", build_context(tmp_path))
    assert Status.FAILED not in [one.status for one in deployed]


def test_large_quotas_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = replace_quotas(monkeypatch, LARGE_QUOTAS)
    (passed,) = run_check("quotas", build_context(tmp_path))
    assert passed.status is Status.PASSED
    services = {one.service for one in read_quotas().values() if one.code is not None}
    assert sorted({service for _, service in quotas.requests}) == sorted(services)
    assert len(quotas.requests) == 2 * len(services)


def test_quota_of_a_global_service_is_that_of_its_own_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAM's quotas exist in us-east-1 only; the stack is in eu-central-1."""
    replace_quotas(monkeypatch, LARGE_QUOTAS | {"roles": 6.0, "distributions": 0.0})
    found = run_check("quotas", build_context(tmp_path))
    lines = [one.detail for one in found if one.status is Status.FAILED]
    assert [line.partition(":")[0] for line in lines] == [
        "Roles per account",
        "Web distributions per AWS account",
    ]
    assert all("at https://us-east-1.console.aws.amazon.com/" in line for line in lines)


def test_quota_without_an_applied_value_has_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_quotas(monkeypatch, {})
    found = run_check("quotas", build_context(tmp_path))
    details = [one.detail for one in found if one.status is Status.WARNING]
    assert any(
        "G and VT Spot" in detail and "the account has 0 left" in detail for detail in details
    )
    assert Status.NOT_CHECKED not in [one.status for one in found]


def test_used_roles_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    replace_quotas(monkeypatch, LARGE_QUOTAS | {"roles": 9.0})
    (failed,) = run_check("quotas", build_context(tmp_path))
    assert "the stack needs 7 to start, and the account has 6 left in us-east-1" in failed.detail


def test_quota_that_the_account_does_not_list_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_quotas(monkeypatch, LARGE_QUOTAS, listed=("vpc",))
    passed, unread = run_check("quotas", build_context(tmp_path))
    listed = [quota for quota in read_quotas().values() if quota.code is not None]
    known = sum(quota.service == "vpc" for quota in listed)
    assert passed.detail.startswith(f"{known} quotas")
    assert unread.status is Status.NOT_CHECKED
    assert f"{len(listed) - known} quotas" in unread.detail


def test_usage_that_the_account_does_not_tell_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject() -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetAccountSummary")

    replace_quotas(monkeypatch, LARGE_QUOTAS)
    replace_clients(monkeypatch, iam=SimpleNamespace(get_account_summary=reject))
    passed, uncounted = run_check("quotas", build_context(tmp_path))
    assert passed.status is Status.PASSED
    assert (uncounted.status, "roles" in uncounted.detail) == (Status.NOT_CHECKED, True)
