"""`berth preflight`: each thing that AWS would refuse in the middle of an update, found before."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from click.testing import CliRunner

from berth.cli import preflight as command
from berth.cli.main import main
from berth.operations.preflight import as_json, find_problems, format_text, has_failed
from berth.platforms.aws import preflight, preflight_checks, reach
from berth.platforms.aws.permissions import ACTIONS
from berth.platforms.aws.preflight_checks import CHECKS, Subject
from berth.platforms.aws.requirements import list_requirements
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from pulumi_berth.aws_identity import AwsIdentity
from tests.aws.reality.preflight_account import (
    ADDRESS,
    LARGE_QUOTAS,
    ROLE,
    USER,
    build_context,
    empty_account,
    replace_clients,
    replace_quotas,
    run_check,
)
from tests.repository import REPOSITORY

pytestmark = pytest.mark.usefixtures("empty_account")
__all__ = ["empty_account"]


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


def _iam(decide: Callable[[str], str]) -> Any:
    def simulate(PolicySourceArn: str, ActionNames: list[str], Marker: str = "") -> Any:  # noqa: N803
        assert PolicySourceArn in (USER, ROLE)
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
        return {"Role": {"Arn": ROLE}}

    return SimpleNamespace(simulate_principal_policy=simulate, get_role=get_role)


def _sts(arn: str) -> Any:
    return SimpleNamespace(get_caller_identity=lambda: {"Arn": arn, "Account": "123456789012"})


@pytest.mark.parametrize(
    "caller", [USER, "arn:aws:sts::123456789012:assumed-role/deployer/session"]
)
def test_denied_action_is_named(
    caller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(action: str) -> str:
        return "implicitDeny" if action in ("eks:CreateCluster", "iam:PassRole") else "allowed"

    replace_clients(monkeypatch, iam=_iam(decide), sts=_sts(caller))
    (finding,) = run_check("permissions", build_context(tmp_path))
    assert finding.status is Status.FAILED
    assert f"2 of {len(ACTIONS)} actions are denied: eks:CreateCluster, iam:PassRole" in (
        finding.detail
    )
    assert finding.fix


def test_allowed_actions_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_clients(monkeypatch, iam=_iam(lambda _: "allowed"), sts=_sts(USER))
    (finding,) = run_check("permissions", build_context(tmp_path))
    assert finding.status is Status.PASSED


def test_root_user_has_no_policies_to_simulate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_clients(monkeypatch, sts=_sts("arn:aws:iam::123456789012:root"))
    (finding,) = run_check("permissions", build_context(tmp_path))
    assert finding.status is Status.NOT_CHECKED


def test_zones_and_instance_types_of_the_region(tmp_path: Path) -> None:
    found = run_check("zones", build_context(tmp_path))
    assert found[0].status is Status.PASSED
    too_many = run_check("zones", build_context(tmp_path, {"network.availability_zones": 6}))
    assert too_many[0].status is Status.FAILED
    assert "Set network.availability_zones to" in too_many[0].fix
    types = {"node_pools.general.instance_types": ["m99.large", "m7i.large"]}
    partly = run_check("zones", build_context(tmp_path, types))
    assert {"m99.large" in one.detail and one.status for one in partly[1:]} >= {Status.WARNING}
    nowhere = run_check(
        "zones", build_context(tmp_path, {"node_pools.general.instance_types": ["m99.large"]})
    )
    assert Status.FAILED in [one.status for one in nowhere]


def test_role_that_does_not_exist_is_found(tmp_path: Path) -> None:
    boto3.client("iam").create_role(RoleName="there", AssumeRolePolicyDocument="{}")
    access = {"a": {"role": "there"}, "b": {"role": "missing"}}
    found = run_check("roles", build_context(tmp_path, {"cluster.access": access}))
    assert [one.status for one in found] == [Status.PASSED, Status.FAILED]
    assert "no IAM role missing, which cluster.access.b names" in found[1].detail
    assert [one.status for one in run_check("roles", build_context(tmp_path))] == [Status.OPTIONAL]


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
    replace_clients(monkeypatch, eks=_eks(insights))
    (finding,) = run_check("upgrade", build_context(tmp_path))
    assert finding.status is status
    assert detail in finding.detail
    assert status is not Status.WARNING or "Used by ann." in finding.detail


def test_upgrade_of_a_stack_without_cluster_is_no_finding(tmp_path: Path) -> None:
    assert run_check("upgrade", build_context(tmp_path)) == []


def test_hosted_zone_that_does_not_exist_is_found(tmp_path: Path) -> None:
    route53 = boto3.client("route53")
    vpc = {"VPCRegion": "us-east-1", "VPCId": "vpc-1"}
    route53.create_hosted_zone(Name="ml.de", CallerReference="1")
    private = {"PrivateZone": True}
    route53.create_hosted_zone(Name="in.de", CallerReference="2", VPC=vpc, HostedZoneConfig=private)
    names = {"api.domain": {"name": "a.ml.de", "zone": "ml.de"}}
    (passed,) = run_check("hosted-zones", build_context(tmp_path, names))
    assert passed.status is Status.PASSED
    for zone in ("l.de", "in.de", "zz.de"):
        names = {"api.domain": {"name": f"a.{zone}", "zone": zone}}
        (failed,) = run_check("hosted-zones", build_context(tmp_path, names))
        assert (failed.status, bool(failed.fix)) == (Status.FAILED, True), zone
    assert [one.status for one in run_check("hosted-zones", build_context(tmp_path))] == [
        Status.OPTIONAL
    ]


def test_recipient_in_a_reserved_domain_fails(tmp_path: Path) -> None:
    changes = {"observability.notify": ["ml@example.com"], "budget.notify": ["ml@team.de"]}
    found = run_check("recipients", build_context(tmp_path, changes))
    assert [one.status for one in found] == [Status.FAILED, Status.PASSED]
    assert [one.status for one in run_check("recipients", build_context(tmp_path))] == [
        Status.OPTIONAL
    ] * 2


@pytest.mark.parametrize(("status", "expected"), [("Active", "passed"), ("Inactive", "warning")])
def test_tag_of_a_budget_must_be_activated(
    status: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"CostAllocationTags": [{"TagKey": "berth:stack", "Status": status}]}
    replace_clients(monkeypatch, ce=SimpleNamespace(list_cost_allocation_tags=lambda **_: tags))
    (finding,) = run_check("budget", build_context(tmp_path, {"budget.scope": "stack"}))
    assert finding.status.value == expected
    assert run_check("budget", build_context(tmp_path)) == []


def test_address_that_the_endpoint_does_not_admit_fails(tmp_path: Path) -> None:
    assert _require("cluster-access", build_context(tmp_path)).status is Status.PASSED
    other = {"cluster.public_cidrs": ["198.51.100.0/24"]}
    with pytest.raises(SpecError, match=f"add {ADDRESS}/32. Nothing was changed"):
        _require("cluster-access", build_context(tmp_path, other))


def test_deployed_cluster_is_reached_by_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"endpointPublicAccess": True, "publicAccessCidrs": [f"{ADDRESS}/32"]}
    _deploy_cluster(monkeypatch, endpoint="https://c.example.com", resourcesVpcConfig=network)
    monkeypatch.setattr(reach, "accepts_connections", lambda _: True)
    assert _require("cluster-access", build_context(tmp_path)).status is Status.PASSED
    monkeypatch.setattr(reach, "accepts_connections", lambda _: False)
    with pytest.raises(SpecError, match="routes and firewalls"):
        _require("cluster-access", build_context(tmp_path))


def test_cluster_that_eks_does_not_tell_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = {"cluster.endpoint": "private", "cluster.public_cidrs": []}
    context = build_context(tmp_path, private)
    with pytest.raises(SpecError, match=r"set cluster\.endpoint: public_and_private"):
        _require("cluster-access", context)

    def reject(self: AwsIdentity, service: str, **_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeCluster")

    monkeypatch.setattr(AwsIdentity, "create_client", reject)
    assert _require("cluster-access", context).status is Status.NOT_CHECKED


def test_proxy_hides_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert _require("cluster-access", build_context(tmp_path)).status is Status.NOT_CHECKED


def _refuse_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject the simulation of policies, as the server of the emulator does."""

    def simulate(**_: object) -> None:
        raise ResponseParserError("Unable to parse response: not XML")

    iam = boto3.client("iam")
    monkeypatch.setattr(iam, "simulate_principal_policy", simulate)
    replace_quotas(monkeypatch, LARGE_QUOTAS)
    replace_clients(monkeypatch, iam=iam, sts=_sts(USER))


def test_all_checks_run_in_an_empty_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_simulation(monkeypatch)
    found = preflight.run_checks(build_context(tmp_path))
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
    found = preflight.run_checks(build_context(tmp_path), deadline=0)
    (roles,) = (one for one in found if one.check == "roles")
    assert (roles.status, "did not respond" in roles.detail) == (Status.NOT_CHECKED, True)


def test_rejected_credentials_are_the_only_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(self: AwsIdentity, service: str, **_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ExpiredToken"}}, "GetCallerIdentity")

    monkeypatch.setattr(AwsIdentity, "create_client", reject)
    context = build_context(tmp_path)
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
    build_context(tmp_path, changes)
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
