"""The policy pack with the real engine, through the installed program that runs it."""

import datetime
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.operations.rollback import report_policies
from tests.aws.program import Program

_PACK = ("--policy-pack", str(files("berth_policy")), "--stack", "test")
_PROGRAM = """
import pulumi
from pulumi_aws import kms, s3, sns

kms.Key("static", enable_key_rotation=False)
sns.Topic("encrypted", kms_master_key_id="alias/aws/sns")
s3.Bucket("open")
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Program:
    return new_program("policy").write(_PROGRAM)


def _set_exceptions(program: Program, *exceptions: dict[str, str]) -> None:
    path = program.directory / "Pulumi.test.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    content["config"]["berth:policy"] = {"exceptions": list(exceptions)}
    path.write_text(yaml.safe_dump(content))


_SOON = (datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=30)).isoformat()


def _exception(rule: str, resource: str, expires: str = _SOON) -> dict[str, str]:
    return {"rule": rule, "resource": resource, "reason": "for this test", "expires": expires}


_OPEN_BUCKET = [
    _exception(rule, "open")
    for rule in ("s3-no-public-access", "s3-versioned", "s3-encrypted", "s3-tls-only")
]


def test_engine_starts_the_pack_through_the_installed_script(
    program: Program, tmp_path: Path
) -> None:
    name, calls = "pulumi-analyzer-policy-berth", tmp_path / "calls"
    installed = Path(sys.executable).parent / name
    wrapper = tmp_path / name
    wrapper.write_text(f'#!/bin/sh\necho "$(pwd) $@" >> {calls}\nexec {installed} "$@"\n')
    wrapper.chmod(0o755)
    _set_exceptions(program)
    output = program.pulumi("preview", *_PACK, code=1, programs=tmp_path).stdout
    assert "kms-rotates (medium): static" in output
    assert str(files("berth_policy")) in calls.read_text()


def test_preview_reports_every_violation_and_its_remedy(program: Program) -> None:
    _set_exceptions(program)
    output = program.pulumi("preview", *_PACK, code=1).stdout
    for expected in (
        "[mandatory]  baseline  (aws:kms:Key: static)",
        "kms-rotates (medium): static: enableKeyRotation is False",
        "Set enable_key_rotation to true.",
        "[mandatory]  baseline-stack  (aws:s3:Bucket: open)",
        "s3-no-public-access (critical): open: it has no public access block",
    ):
        assert expected in output
    assert "sns-encrypted" not in output


def test_update_creates_no_resource_with_a_violation(program: Program) -> None:
    _set_exceptions(program)
    kms = program.aws.client("kms")
    before = kms.list_keys()["Keys"]
    program.pulumi("up", "--yes", "--skip-preview", *_PACK, code=1)
    assert kms.list_keys()["Keys"] == before


def test_accepted_violation_passes_and_is_reported(program: Program) -> None:
    _set_exceptions(program, _exception("kms-rotates", "static"), *_OPEN_BUCKET)
    output = program.pulumi("preview", *_PACK).stdout
    assert f"kms-rotates for static applies until {_SOON}: for this test" in output


def test_expired_exception_accepts_no_violation(program: Program) -> None:
    _set_exceptions(program, _exception("kms-rotates", "static", "2020-01-31"), *_OPEN_BUCKET)
    output = program.pulumi("preview", *_PACK, code=1).stdout
    assert "kms-rotates (medium): static" in output


def test_exception_for_more_than_a_year_is_rejected(program: Program) -> None:
    _set_exceptions(program, _exception("kms-rotates", "static", "2999-12-31"))
    result = program.pulumi("preview", *_PACK, code=1)
    assert "2999-12-31 is more than a year away" in result.stdout + result.stderr


def test_exception_from_unknown_rule_is_rejected(program: Program) -> None:
    _set_exceptions(program, _exception("kms-turns", "static"))
    result = program.pulumi("preview", *_PACK, code=1)
    expected = "'kms-turns' is not a rule; known rules: api-firewall"
    assert expected in result.stdout + result.stderr


_KUBERNETES = """
import pulumi
from pulumi_kubernetes import Provider, apps, core, rbac
from pulumi_kubernetes.apiextensions import CustomResource

# The provider writes files and needs no cluster.
options = pulumi.ResourceOptions(provider=Provider("files", render_yaml_to_directory="manifests"))
pod = {"host_network": True, "containers": [
    {"name": "a", "image": "a", "security_context": {"privileged": True}}]}
core.v1.Pod("bare", spec=pod, opts=options)
apps.v1.DaemonSet("agent", spec={
    "selector": {"match_labels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}, opts=options)
rbac.v1.ClusterRoleBinding(
    "everyone",
    role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole",
              "name": "cluster-admin"},
    subjects=[{"kind": "Group", "name": "system:unauthenticated"}],
    opts=options)
core.v1.Service("public", spec={"type": "LoadBalancer", "ports": [{"port": 80}]}, opts=options)
CustomResource("plain", api_version="gateway.networking.k8s.io/v1", kind="Gateway", spec={
    "gatewayClassName": "a", "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}]},
    opts=options)
"""


def test_kubernetes_objects_are_checked_as_the_engine_passes_them(
    new_program: Callable[[str], Program],
) -> None:
    program = new_program("policy-kubernetes").write(_KUBERNETES)
    output = program.pulumi("preview", *_PACK, code=1).stdout
    for expected in (
        "pod-no-escalation (high): bare: container a is privileged",
        "pod-no-host-access (critical): agent: it uses hostNetwork",
        "rbac-no-admin (critical): everyone: it grants cluster-admin",
        "rbac-no-anonymous (critical): everyone: it grants cluster-admin to system:unauthenticated",
        "gateway-tls (high): plain: it accepts unencrypted requests on listener web",
    ):
        assert expected in output
    # A rollback only reports them.
    options = report_policies(Path(str(files("berth_policy"))), program.directory)
    result = program.pulumi("preview", *options, "--stack", "test")
    assert "bare: container a is privileged" in result.stdout


def test_excluded_object_is_not_checked(new_program: Callable[[str], Program]) -> None:
    """The engine passes an object that `--exclude` skips without its inputs."""
    program = new_program("policy-excluded").write(_KUBERNETES)
    excluded = ("--exclude", "**kubernetes:core/v1:Pod::bare")
    output = program.pulumi("preview", *excluded, *_PACK, code=1).stdout
    assert "rbac-no-admin (critical): everyone" in output
    assert "): bare:" not in output
