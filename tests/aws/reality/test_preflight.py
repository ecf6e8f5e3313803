"""`berth preflight`: each thing that AWS would refuse in the middle of an update, found before."""

import json
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from click.testing import CliRunner
from moto import mock_aws

from berth.cli import preflight as command
from berth.cli.main import main
from berth.operations.preflight import as_json, find_problems, format_text, has_failed
from berth.platforms.aws import preflight, preflight_checks, reach
from berth.platforms.aws.permissions import ACTIONS
from berth.platforms.aws.preflight_checks import CHECKS, Subject
from berth.platforms.aws.quotas import read_quotas
from berth.platforms.aws.reach import Caller
from berth.platforms.aws.requirements import list_requirements
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_file
from pulumi_berth.aws_identity import AwsIdentity
from tests.repository import REPOSITORY
from tests.unit.spec_file import changed, config_of

_ADDRESS = "203.0.113.7"
_USER = "arn:aws:iam::123456789012:user/ann"
_ROLE = "arn:aws:iam::123456789012:role/ci/deployer"
# A real account returns the values of these quotas; a new one has none for GPUs.
_VALUES = {key: float(quota.default or 0) for key, quota in read_quotas().items()}
_LARGE = dict.fromkeys(_VALUES, 10_000.0)


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in an empty account of an in-process emulator."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reach, "find_caller", lambda _: Caller(public=_ADDRESS, local=None))
    with mock_aws():
        yield


def _context(tmp_path: Path, changes: dict[Any, Any] | None = None) -> StackContext:
    path = tmp_path / "Pulumi.dev.yaml"
    default = {"cluster.public_cidrs": [f"{_ADDRESS}/32"]}
    path.write_text(changed(config_of("dev"), default | (changes or {})))
    return StackContext(root=tmp_path, stack="dev", spec=load_file(path))


def _run(check: str, context: StackContext) -> list[Finding]:
    return list(CHECKS[check](Subject(context=context, identity=AwsIdentity())))


def _require(name: str, context: StackContext) -> Finding:
    (requirement,) = (one for one in list_requirements() if one.name == name)
    return requirement.check(context)


def _deploy_cluster(monkeypatch: pytest.MonkeyPatch, **description: Any) -> None:
    """Let EKS describe a cluster of the stack."""
    eks = SimpleNamespace(describe_cluster=lambda **_: {"cluster": description})
    create = AwsIdentity.create_client

    def client(self: AwsIdentity, service: str, **options: Any) -> Any:
        return eks if service == "eks" else create(self, service, **options)

    monkeypatch.setattr(AwsIdentity, "create_client", client)


def _replace(monkeypatch: pytest.MonkeyPatch, **clients: Any) -> None:
    """Return other clients for some services, such as those that the emulator does not have."""
    create = Subject.client
    fakes = {name.replace("_", "-"): client for name, client in clients.items()}

    def client(self: Subject, service: str, region: str | None = None) -> Any:
        return fakes[service] if service in fakes else create(self, service, region)

    monkeypatch.setattr(Subject, "client", client)


class _ServiceQuotas:
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


def _replace_quotas(
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, float],
    listed: Container[str] | None = None,
) -> _ServiceQuotas:
    """Return other quotas than the emulator, which cannot list any.

    Args:
        listed: The services that the account lists. Defaults to all.
    """
    quotas, create = _ServiceQuotas(values, listed), Subject.client

    def client(self: Subject, service: str, region: str | None = None) -> Any:
        if service == "service-quotas":
            return quotas.in_region(region or self.region)
        return create(self, service, region)

    monkeypatch.setattr(Subject, "client", client)
    return quotas


def _iam(decide: Callable[[str], str]) -> Any:
    def simulate(PolicySourceArn: str, ActionNames: list[str], Marker: str = "") -> Any:  # noqa: N803
        assert PolicySourceArn in (_USER, _ROLE)
        half = len(ActionNames) // 2
        names = ActionNames[half:] if Marker else ActionNames[:half]
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": decide(name)} for name in names
            ],
            "IsTruncated": not Marker,
            "Marker": "next",
        }

    def get_role(RoleName: str) -> Any:  # noqa: N803
        assert RoleName == "deployer"
        return {"Role": {"Arn": _ROLE}}

    return SimpleNamespace(simulate_principal_policy=simulate, get_role=get_role)


def _sts(arn: str) -> Any:
    return SimpleNamespace(get_caller_identity=lambda: {"Arn": arn, "Account": "123456789012"})


@pytest.mark.parametrize(
    "caller", [_USER, "arn:aws:sts::123456789012:assumed-role/deployer/session"]
)
def test_denied_action_is_named(
    caller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(action: str) -> str:
        return "implicitDeny" if action in ("eks:CreateCluster", "iam:PassRole") else "allowed"

    _replace(monkeypatch, iam=_iam(decide), sts=_sts(caller))
    (finding,) = _run("permissions", _context(tmp_path))
    assert finding.status is Status.FAILED
    assert f"2 of {len(ACTIONS)} actions are denied: eks:CreateCluster, iam:PassRole" in (
        finding.detail
    )
    assert finding.fix


def test_allowed_actions_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _replace(monkeypatch, iam=_iam(lambda _: "allowed"), sts=_sts(_USER))
    (finding,) = _run("permissions", _context(tmp_path))
    assert finding.status is Status.PASSED


def test_root_user_has_no_policies_to_simulate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace(monkeypatch, sts=_sts("arn:aws:iam::123456789012:root"))
    (finding,) = _run("permissions", _context(tmp_path))
    assert finding.status is Status.NOT_CHECKED


def test_quota_of_a_new_account_stops_the_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = _LARGE | {"standard_spot_vcpus": 3.0}
    _replace_quotas(monkeypatch, values)
    failed = [one for one in _run("quotas", _context(tmp_path)) if one.status is Status.FAILED]
    (finding,) = failed
    assert "Spot" in finding.detail
    assert "Request 4 at https://eu-central-1.console.aws.amazon.com/" in finding.detail


def test_used_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated account has a default VPC."""
    _replace_quotas(monkeypatch, _LARGE | {"vpcs": 1.0})
    found = _run("quotas", _context(tmp_path))
    assert [one.status for one in found] == [Status.FAILED]
    assert "VPCs per Region" in found[0].detail
    boto3.client("eks", "eu-central-1").create_cluster(
        name="berth-dev", roleArn=_ROLE, resourcesVpcConfig={}
    )
    deployed = _run("quotas", _context(tmp_path))
    assert Status.FAILED not in [one.status for one in deployed]


def test_large_quotas_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = _replace_quotas(monkeypatch, _LARGE)
    (passed,) = _run("quotas", _context(tmp_path))
    assert passed.status is Status.PASSED
    services = {one.service for one in read_quotas().values() if one.code is not None}
    assert sorted({service for _, service in quotas.requests}) == sorted(services)
    assert len(quotas.requests) == 2 * len(services)


def test_quota_of_a_global_service_is_that_of_its_own_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAM's quotas exist in us-east-1 only; the stack is in eu-central-1."""
    _replace_quotas(monkeypatch, _LARGE | {"roles": 6.0, "distributions": 0.0})
    found = _run("quotas", _context(tmp_path))
    lines = [one.detail for one in found if one.status is Status.FAILED]
    assert [line.partition(":")[0] for line in lines] == [
        "Roles per account",
        "Web distributions per AWS account",
    ]
    assert all("at https://us-east-1.console.aws.amazon.com/" in line for line in lines)


def test_quota_without_an_applied_value_has_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_quotas(monkeypatch, {})
    found = _run("quotas", _context(tmp_path))
    details = [one.detail for one in found if one.status is Status.WARNING]
    assert any(
        "G and VT Spot" in detail and "the account has 0 left" in detail for detail in details
    )
    assert Status.NOT_CHECKED not in [one.status for one in found]


def test_used_roles_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    _replace_quotas(monkeypatch, _LARGE | {"roles": 9.0})
    (failed,) = _run("quotas", _context(tmp_path))
    assert "the stack needs 7 to start, and the account has 6 left in us-east-1" in failed.detail


def test_quota_that_the_account_does_not_list_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_quotas(monkeypatch, _LARGE, listed=("vpc",))
    passed, unread = _run("quotas", _context(tmp_path))
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

    _replace_quotas(monkeypatch, _LARGE)
    _replace(monkeypatch, iam=SimpleNamespace(get_account_summary=reject))
    passed, uncounted = _run("quotas", _context(tmp_path))
    assert passed.status is Status.PASSED
    assert (uncounted.status, "roles" in uncounted.detail) == (Status.NOT_CHECKED, True)


def test_zones_and_instance_types_of_the_region(tmp_path: Path) -> None:
    found = _run("zones", _context(tmp_path))
    assert found[0].status is Status.PASSED
    too_many = _run("zones", _context(tmp_path, {"network.availability_zones": 6}))
    assert too_many[0].status is Status.FAILED
    assert "Set network.availability_zones to" in too_many[0].fix
    types = {"node_pools.general.instance_types": ["m99.large", "m7i.large"]}
    partly = _run("zones", _context(tmp_path, types))
    assert {"m99.large" in one.detail and one.status for one in partly[1:]} >= {Status.WARNING}
    nowhere = _run(
        "zones", _context(tmp_path, {"node_pools.general.instance_types": ["m99.large"]})
    )
    assert Status.FAILED in [one.status for one in nowhere]


def test_role_that_does_not_exist_is_found(tmp_path: Path) -> None:
    boto3.client("iam").create_role(RoleName="there", AssumeRolePolicyDocument="{}")
    access = {"a": {"role": "there"}, "b": {"role": "missing"}}
    found = _run("roles", _context(tmp_path, {"cluster.access": access}))
    assert [one.status for one in found] == [Status.PASSED, Status.FAILED]
    assert "no IAM role missing, which cluster.access.b names" in found[1].detail
    assert [one.status for one in _run("roles", _context(tmp_path))] == [Status.OPTIONAL]


def _eks(insights: list[dict[str, Any]]) -> Any:
    def paginate(clusterName: str, filter: Any) -> Any:  # noqa: N803, A002 - boto3's names
        assert (clusterName, filter) == ("berth-dev", {"categories": ["UPGRADE_READINESS"]})
        return [{"insights": insights}]

    return SimpleNamespace(
        describe_cluster=lambda name: {"cluster": {"name": name, "version": "1.35"}},
        get_paginator=lambda _: SimpleNamespace(paginate=paginate),
    )


def _insight(status: str, reason: str) -> dict[str, Any]:
    return {
        "name": "Deprecated APIs removed in Kubernetes v1.36", "kubernetesVersion": "1.36",
        "insightStatus": {"status": status, "reason": reason},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("insights", "status", "detail"),
    [
        ([_insight("PASSING", "No usage.")], Status.PASSED, "The cluster runs 1.35, and EKS found"),
        ([_insight("ERROR", "Used by ann.")], Status.WARNING, "Deprecated APIs removed in Kuber"),
        ([], Status.NOT_CHECKED, "EKS has not examined it yet"),
    ],
)
def test_upgrade_reports_what_eks_found(
    insights: list[dict[str, Any]],
    status: Status,
    detail: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _replace(monkeypatch, eks=_eks(insights))
    (finding,) = _run("upgrade", _context(tmp_path))
    assert finding.status is status
    assert detail in finding.detail
    assert status is not Status.WARNING or "Used by ann." in finding.detail


def test_upgrade_of_a_stack_without_cluster_is_no_finding(tmp_path: Path) -> None:
    assert _run("upgrade", _context(tmp_path)) == []


def test_hosted_zone_that_does_not_exist_is_found(tmp_path: Path) -> None:
    route53 = boto3.client("route53")
    vpc = {"VPCRegion": "us-east-1", "VPCId": "vpc-1"}
    route53.create_hosted_zone(Name="ml.de", CallerReference="1")
    private = {"PrivateZone": True}
    route53.create_hosted_zone(Name="in.de", CallerReference="2", VPC=vpc, HostedZoneConfig=private)
    names = {"api.domain": {"name": "a.ml.de", "zone": "ml.de"}}
    (passed,) = _run("hosted-zones", _context(tmp_path, names))
    assert passed.status is Status.PASSED
    for zone in ("l.de", "in.de", "zz.de"):
        names = {"api.domain": {"name": f"a.{zone}", "zone": zone}}
        (failed,) = _run("hosted-zones", _context(tmp_path, names))
        assert (failed.status, bool(failed.fix)) == (Status.FAILED, True), zone
    assert [one.status for one in _run("hosted-zones", _context(tmp_path))] == [Status.OPTIONAL]


def test_recipient_in_a_reserved_domain_fails(tmp_path: Path) -> None:
    changes = {"observability.notify": ["ml@example.com"], "budget.notify": ["ml@team.de"]}
    found = _run("recipients", _context(tmp_path, changes))
    assert [one.status for one in found] == [Status.FAILED, Status.PASSED]
    assert [one.status for one in _run("recipients", _context(tmp_path))] == [Status.OPTIONAL] * 2


@pytest.mark.parametrize(("status", "expected"), [("Active", "passed"), ("Inactive", "warning")])
def test_tag_of_a_budget_must_be_activated(
    status: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"CostAllocationTags": [{"TagKey": "berth:stack", "Status": status}]}
    _replace(monkeypatch, ce=SimpleNamespace(list_cost_allocation_tags=lambda **_: tags))
    (finding,) = _run("budget", _context(tmp_path, {"budget.scope": "stack"}))
    assert finding.status.value == expected
    assert _run("budget", _context(tmp_path)) == []


def test_address_that_the_endpoint_does_not_admit_fails(tmp_path: Path) -> None:
    assert _require("cluster-access", _context(tmp_path)).status is Status.PASSED
    other = {"cluster.public_cidrs": ["198.51.100.0/24"]}
    with pytest.raises(SpecError, match=f"add {_ADDRESS}/32. Nothing was changed"):
        _require("cluster-access", _context(tmp_path, other))


def test_deployed_cluster_is_reached_by_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"endpointPublicAccess": True, "publicAccessCidrs": [f"{_ADDRESS}/32"]}
    _deploy_cluster(monkeypatch, endpoint="https://c.example.com", resourcesVpcConfig=network)
    monkeypatch.setattr(reach, "accepts_connections", lambda _: True)
    assert _require("cluster-access", _context(tmp_path)).status is Status.PASSED
    monkeypatch.setattr(reach, "accepts_connections", lambda _: False)
    with pytest.raises(SpecError, match="routes and firewalls"):
        _require("cluster-access", _context(tmp_path))


def test_cluster_that_eks_does_not_tell_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = {"cluster.endpoint": "private", "cluster.public_cidrs": []}
    context = _context(tmp_path, private)
    with pytest.raises(SpecError, match=r"set cluster\.endpoint: public_and_private"):
        _require("cluster-access", context)

    def reject(self: AwsIdentity, service: str, **_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeCluster")

    monkeypatch.setattr(AwsIdentity, "create_client", reject)
    assert _require("cluster-access", context).status is Status.NOT_CHECKED


def test_proxy_hides_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert _require("cluster-access", _context(tmp_path)).status is Status.NOT_CHECKED


def _refuse_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject the simulation of policies, as the server of the emulator does."""

    def simulate(**_: object) -> None:
        raise ResponseParserError("Unable to parse response: not XML")

    iam = boto3.client("iam")
    monkeypatch.setattr(iam, "simulate_principal_policy", simulate)
    _replace_quotas(monkeypatch, _LARGE)
    _replace(monkeypatch, iam=iam, sts=_sts(_USER))


def test_all_checks_run_in_an_empty_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_simulation(monkeypatch)
    found = preflight.run_checks(_context(tmp_path))
    assert {one.check for one in found} >= set(CHECKS) - {"budget", "upgrade", "zones"}
    # The emulator cannot simulate policies.
    (permissions,) = (one for one in found if one.check == "permissions")
    assert permissions.status is Status.NOT_CHECKED
    assert not has_failed(found), format_text("dev", found)


def test_check_that_takes_too_long_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: Subject) -> list[Finding]:
        time.sleep(1)
        return []

    monkeypatch.setitem(preflight_checks.CHECKS, "roles", wait)
    found = preflight.run_checks(_context(tmp_path), deadline=0)
    (roles,) = (one for one in found if one.check == "roles")
    assert (roles.status, "did not respond" in roles.detail) == (Status.NOT_CHECKED, True)


def test_rejected_credentials_are_the_only_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(self: AwsIdentity, service: str, **_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ExpiredToken"}}, "GetCallerIdentity")

    monkeypatch.setattr(AwsIdentity, "create_client", reject)
    context = _context(tmp_path)
    *passed, failed = find_problems(context, list_requirements())
    assert [one.check for one in passed] == ["cluster-version", "capacity"]
    assert (failed.check, failed.status) == ("credentials", Status.FAILED)
    assert "aws sso login" in failed.detail


def test_document_has_each_check_and_its_fix() -> None:
    findings = [
        Finding(check="a", status=Status.PASSED, detail="fine"),
        Finding(check="b", status=Status.FAILED, detail="missing", fix="Create it."),
        Finding(check="c", status=Status.NOT_CHECKED, detail="denied"),
    ]
    document = as_json("dev", findings)
    assert (document["stack"], document["passed"]) == ("dev", False)
    assert document["checks"][1] == {
        "check": "b", "status": "failed", "detail": "missing", "fix": "Create it.",
    }  # fmt: skip
    text = format_text("dev", findings)
    assert text.splitlines()[2].split() == ["failed", "b:", "missing", "Create", "it."]
    assert "1 of 3 checks failed. Nothing was changed. 1 could not be checked." in text


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, []),
        ({"observability.notify": ["a@b.test"]}, ["recipients"]),
        # `up` refuses these before its first request.
        ({"cluster.version": "1.33"}, ["cluster-version"]),
        ({"models.digits.resources": {"cpu": "8", "memory": "512Mi"}}, ["capacity"]),
        ({"models.digits.versions.1.path": "models/missing/1"}, ["models"]),
    ],
)
def test_command_prints_one_document_and_fails_with_its_checks(
    changes: dict[Any, Any], failed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_simulation(monkeypatch)
    _context(tmp_path, changes)
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    monkeypatch.setattr(command, "find_project", lambda: tmp_path)
    result = CliRunner().invoke(main, ["preflight", "-s", "dev", "--json"])
    document = json.loads(result.stdout)
    found = {one["check"] for one in document["checks"] if one["status"] == "failed"}
    assert sorted(found) == failed
    assert document["passed"] is (not failed)
    assert result.exit_code == bool(failed), result.output


def test_local_stack_has_only_the_general_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    result = CliRunner().invoke(main, ["preflight", "-s", "local", "--json"])
    checks = [one["check"] for one in json.loads(result.stdout)["checks"]]
    assert checks == ["models", "image-signatures", "ownership", "tools"]
