"""`berth preflight`: each thing that AWS would refuse in the middle of an update, found before."""

import json
import time
from collections.abc import Callable, Iterator
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
from berth.operations.preflight import as_json, format_text, has_failed
from berth.platforms.aws import preflight, preflight_checks, reach
from berth.platforms.aws.permissions import ACTIONS
from berth.platforms.aws.preflight_checks import CHECKS, Subject
from berth.platforms.aws.quotas import read_quotas
from berth.platforms.aws.reach import Caller
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
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


def _run(check: str, context: StackContext, cluster: dict[str, Any] | None = None) -> list[Finding]:
    subject = Subject(
        context=context, identity=AwsIdentity(), cluster=cluster, is_new=cluster is None
    )
    return list(CHECKS[check](subject))


def _replace(monkeypatch: pytest.MonkeyPatch, **clients: Any) -> None:
    """Return other clients for some services, such as those that the emulator does not have."""
    create = Subject.client
    fakes = {name.replace("_", "-"): client for name, client in clients.items()}

    def client(self: Subject, service: str, region: str | None = None) -> Any:
        return fakes[service] if service in fakes else create(self, service, region)

    monkeypatch.setattr(Subject, "client", client)


def _quotas(values: dict[str, float]) -> Any:
    codes = {(quota.service, quota.code): key for key, quota in read_quotas().items()}

    def get(ServiceCode: str, QuotaCode: str) -> Any:  # noqa: N803 - boto3's names
        return {"Quota": {"Value": values[codes[ServiceCode, QuotaCode]]}}

    return SimpleNamespace(get_service_quota=get)


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
    _replace(monkeypatch, service_quotas=_quotas(values))
    failed = [one for one in _run("quotas", _context(tmp_path)) if one.status is Status.FAILED]
    (finding,) = failed
    assert "Spot" in finding.detail
    assert "request-service-quota-increase --region eu-central-1" in finding.detail


def test_used_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated account has a default VPC."""
    _replace(monkeypatch, service_quotas=_quotas(_LARGE | {"vpcs": 1.0}))
    found = _run("quotas", _context(tmp_path))
    assert [one.status for one in found] == [Status.FAILED]
    assert "VPCs per Region" in found[0].detail
    deployed = _run("quotas", _context(tmp_path), cluster={"name": "berth-dev"})
    assert Status.FAILED not in [one.status for one in deployed]


def test_large_quotas_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _replace(monkeypatch, service_quotas=_quotas(_LARGE))
    assert {one.status for one in _run("quotas", _context(tmp_path))} == {Status.PASSED}


def test_quota_that_the_emulator_does_not_have_is_not_checked(tmp_path: Path) -> None:
    found = _run("quotas", _context(tmp_path))
    (passed,) = (one for one in found if one.status is Status.PASSED)
    (unread,) = (one for one in found if one.status is Status.NOT_CHECKED)
    # The emulator has only the quotas of VPCs.
    listed = [quota for quota in read_quotas().values() if quota.code is not None]
    known = sum(quota.service == "vpc" for quota in listed)
    assert passed.detail.startswith(f"{known} quotas")
    assert f"{len(listed) - known} quotas" in unread.detail
    assert len(found) == 2


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
    (passed,) = _run("cluster-access", _context(tmp_path))
    assert passed.status is Status.PASSED
    other = {"cluster.public_cidrs": ["198.51.100.0/24"]}
    (failed,) = _run("cluster-access", _context(tmp_path, other))
    assert failed.status is Status.FAILED
    assert failed.detail.endswith(f"add {_ADDRESS}/32.")


def test_deployed_cluster_is_reached_by_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"endpointPublicAccess": True, "publicAccessCidrs": [f"{_ADDRESS}/32"]}
    cluster = {"endpoint": "https://c.example.com", "resourcesVpcConfig": network}
    monkeypatch.setattr(reach, "accepts_connections", lambda _: True)
    assert _run("cluster-access", _context(tmp_path), cluster)[0].status is Status.PASSED
    monkeypatch.setattr(reach, "accepts_connections", lambda _: False)
    (finding,) = _run("cluster-access", _context(tmp_path), cluster)
    assert (finding.status, "routes and firewalls" in finding.fix) == (Status.FAILED, True)


def test_cluster_that_eks_does_not_tell_is_not_checked(tmp_path: Path) -> None:
    private = {"cluster.endpoint": "private", "cluster.public_cidrs": []}
    context = _context(tmp_path, private)
    subject = Subject(context=context, identity=AwsIdentity())
    assert [one.status for one in CHECKS["cluster-access"](subject)] == [Status.NOT_CHECKED]
    assert _run("cluster-access", context)[0].status is Status.FAILED


def test_proxy_hides_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert _run("cluster-access", _context(tmp_path))[0].status is Status.NOT_CHECKED


def _refuse_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject the simulation of policies, as the server of the emulator does."""

    def simulate(**_: object) -> None:
        raise ResponseParserError("Unable to parse response: not XML")

    _replace(monkeypatch, iam=SimpleNamespace(simulate_principal_policy=simulate), sts=_sts(_USER))


def test_all_checks_run_in_an_empty_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_simulation(monkeypatch)
    found = preflight.run_checks(_context(tmp_path))
    assert {one.check for one in found} >= {*CHECKS, "credentials"} - {"budget", "zones"}
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
    def reject() -> None:
        raise ClientError({"Error": {"Code": "ExpiredToken"}}, "GetCallerIdentity")

    _replace(monkeypatch, sts=SimpleNamespace(get_caller_identity=reject))
    (finding,) = preflight.run_checks(_context(tmp_path))
    assert (finding.check, finding.status) == ("credentials", Status.FAILED)
    assert "aws sso login" in finding.fix


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
    ("changes", "code"), [({}, 0), ({"observability.notify": ["a@b.test"]}, 1)]
)
def test_command_prints_one_document_and_fails_with_its_checks(
    changes: dict[Any, Any], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_simulation(monkeypatch)
    _context(tmp_path, changes)
    monkeypatch.setattr(command, "find_project", lambda: tmp_path)
    result = CliRunner().invoke(main, ["preflight", "-s", "dev", "--json"])
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout)["passed"] is (code == 0)


def test_local_stack_has_only_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    result = CliRunner().invoke(main, ["preflight", "-s", "local", "--json"])
    assert [one["check"] for one in json.loads(result.stdout)["checks"]] == ["target"]
