"""Who runs `up` reaches the cluster's API: address, security group, endpoint.

EKS admits the ranges of the public endpoint from the internet. From the VPC and from networks that
are connected to it, the cluster's security group decides, which admits only its members:
https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html and
https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html, read 2026-11-26.
"""

import difflib
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from berth.platforms.aws import caller_address
from berth.platforms.aws.caller_address import add_range, record_caller_address
from berth.platforms.aws.reach import (
    Caller,
    Endpoint,
    explain_unreachable,
    find_local_address,
    read_endpoint,
)
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec, SpecError, load_file
from tests.aws.reality.declared import (
    ADDRESS,
    CONFIGURED,
    VPN_RANGE,
    Resource,
    declare,
    find_resources,
)
from tests.repository import REPOSITORY

_HOME, _OTHER, _VPN, _IN_VPC = ADDRESS, "198.51.100.9", "10.99.1.4", "10.20.3.4"


def _contains(ranges: Iterable[str], address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in ranges)


def _admits(resources: list[Resource], address: str) -> bool:
    """Return whether the declared cluster admits an address: on the internet or in the VPC."""
    (cluster,) = (
        one for one in find_resources(resources, ":Cluster") if "vpcConfig" in one["inputs"]
    )
    network = cluster["inputs"]["vpcConfig"]
    if network["endpointPublicAccess"] and _contains(network["publicAccessCidrs"], address):
        return True
    return any(
        _contains(rule["inputs"]["cidrBlocks"], address)
        for rule in find_resources(resources, ":SecurityGroupRule")
        if rule["inputs"].get("cidrBlocks")
        and rule["inputs"]["type"] == "ingress"
        and float(rule["inputs"]["fromPort"]) <= 443 <= float(rule["inputs"]["toPort"])
    )


@pytest.mark.slow
def test_cluster_admits_the_recorded_address_and_connected_networks() -> None:
    resources = declare("dev", **CONFIGURED)
    assert _admits(resources, _HOME)
    assert _admits(resources, _VPN)
    assert not _admits(resources, _OTHER)
    assert not _admits(resources, _IN_VPC)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_unchanged_stack_has_an_endpoint_for_the_first_update(stack: str) -> None:
    spec = load_file(REPOSITORY / f"Pulumi.{stack}.yaml")
    assert (spec.cluster.endpoint, spec.cluster.public_cidrs) == ("public_and_private", [])


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_recorded_address_changes_only_its_line(stack: str) -> None:
    text = (REPOSITORY / f"Pulumi.{stack}.yaml").read_text()
    lines = difflib.unified_diff(
        text.splitlines(), add_range(text, f"{_HOME}/32").splitlines(), lineterm="", n=0
    )
    changed = [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert changed == ["-    public_cidrs: []", f"+    public_cidrs: [{_HOME}/32]"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "endpoint: x\n    public_cidrs:   []  # mine",
            "endpoint: x\n    public_cidrs: [C]  # mine",
        ),
        ("endpoint: x\n    public_cidrs: null", "endpoint: x\n    public_cidrs: [C]"),
        ("endpoint: x\n    access: {}", "endpoint: x\n    public_cidrs: [C]\n    access: {}"),
    ],
)
def test_entry_is_replaced_or_added(before: str, after: str) -> None:
    file = "config:\n  berth:cluster:\n    {}\n  other: null\n"
    cidr = f"{_HOME}/32"
    assert add_range(file.format(before), cidr) == file.format(after.replace("C", cidr))


def test_section_on_one_line_keeps_its_values() -> None:
    text = "config:\n  berth:cluster: {endpoint: public_and_private, public_cidrs: []}\n"
    assert "endpoint: public_and_private" in add_range(text, f"{_HOME}/32")
    assert f"{_HOME}/32" in add_range(text, f"{_HOME}/32")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackContext:
    monkeypatch.setattr(caller_address, "require_credentials", lambda _settings: None)
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text((REPOSITORY / "Pulumi.dev.yaml").read_text())
    return StackContext(root=tmp_path, stack="dev", spec=load_file(path))


def test_address_is_recorded_once(context: StackContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_address, "find_public_address", lambda: _HOME)
    (line,) = record_caller_address(context)
    assert f"[{_HOME}/32]" in line
    path = context.root / "Pulumi.dev.yaml"
    spec = load_file(path)
    assert spec.cluster.public_cidrs == [f"{_HOME}/32"]
    monkeypatch.setattr(caller_address, "find_public_address", lambda: _OTHER)
    second = StackContext(root=context.root, stack="dev", spec=spec)
    assert record_caller_address(second) == []
    assert load_file(path).cluster.public_cidrs == [f"{_HOME}/32"]


def test_unknown_address_stops_with_the_key_to_set(
    context: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_address, "find_public_address", lambda: None)
    before = (context.root / "Pulumi.dev.yaml").read_text()
    with pytest.raises(SpecError, match=r"cluster\.public_cidrs: is empty.*Set the ranges"):
        record_caller_address(context)
    assert (context.root / "Pulumi.dev.yaml").read_text() == before


def test_without_credentials_no_address_is_asked_for(
    context: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(_settings: object) -> None:
        raise SpecError.of("aws: no credentials")

    monkeypatch.setattr(caller_address, "require_credentials", reject)
    monkeypatch.setattr(caller_address, "find_public_address", pytest.fail)
    with pytest.raises(SpecError, match="no credentials"):
        record_caller_address(context)


def _spec(context: StackContext, **cluster: Any) -> HostingSpec:
    changed = context.spec.cluster.model_copy(update=cluster)
    return context.spec.model_copy(update={"cluster": changed})


_PUBLIC = {"endpoint": "public_and_private", "public_cidrs": [f"{_HOME}/32"]}
_PRIVATE = {"endpoint": "private", "public_cidrs": [], "private_cidrs": [VPN_RANGE]}
_DEPLOYED = Endpoint(host="cluster.example.com", public_cidrs=(f"{_HOME}/32",))
_CLOSED = Endpoint(host="cluster.example.com", public_cidrs=())


@pytest.mark.parametrize(
    ("cluster", "endpoint", "public", "local", "problem"),
    [
        (_PUBLIC, None, _HOME, None, None),
        (_PUBLIC, None, _OTHER, None, f"not in cluster.public_cidrs ({_HOME}/32); add {_OTHER}/32"),
        (_PUBLIC, None, None, None, None),
        (_PRIVATE, None, _HOME, _VPN, "set cluster.endpoint: public_and_private for the first"),
        (_PUBLIC, _DEPLOYED, _HOME, None, None),
        (_PUBLIC, _DEPLOYED, _OTHER, "192.168.1.2", f"add {_OTHER}/32 to cluster.public_cidrs"),
        (_PRIVATE, _CLOSED, _HOME, _VPN, None),
        (_PRIVATE, _CLOSED, _HOME, _IN_VPC, "admits only its members and cluster.private_cidrs"),
        (
            _PRIVATE,
            _CLOSED,
            _HOME,
            "192.168.1.2",
            f"use a machine in cluster.private_cidrs ({VPN_RANGE})",
        ),
        (
            _PUBLIC,
            _CLOSED,
            _HOME,
            "192.168.1.2",
            "public endpoint admits none; run 'berth up -s dev'",
        ),
        (
            _PUBLIC,
            _DEPLOYED,
            _OTHER,
            None,
            "eu-central-1.console.aws.amazon.com/eks/home?region=eu-central-1#/clusters/berth-dev",
        ),
        (_PUBLIC, _DEPLOYED, _OTHER, None, "then run 'berth refresh -s dev'."),
    ],
)
def test_caller_is_refused_with_what_to_do(
    context: StackContext,
    cluster: dict[str, Any],
    endpoint: Endpoint | None,
    public: str | None,
    local: str | None,
    problem: str | None,
) -> None:
    spec = _spec(context, **cluster)
    found = explain_unreachable(spec, "dev", Caller(public=public, local=local), endpoint)
    assert found is None if problem is None else problem in str(found)


def test_endpoint_is_read_from_the_description_of_eks() -> None:
    network = {"endpointPublicAccess": True, "publicAccessCidrs": [f"{_HOME}/32"]}
    cluster = {"endpoint": "https://a.eks.amazonaws.com", "resourcesVpcConfig": network}
    assert read_endpoint(cluster) == Endpoint(
        host="a.eks.amazonaws.com", public_cidrs=(f"{_HOME}/32",)
    )
    network["endpointPublicAccess"] = False
    assert read_endpoint(cluster).public_cidrs == ()


def test_local_address_is_the_one_that_routes_to_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find_local_address("127.0.0.0/8") == "127.0.0.1"

    def refuse(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert find_local_address("10.20.0.0/16") is None
