"""Tests of the check that an existing Gateway forwards a stack's requests, on API objects."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from berth.platforms.kubernetes import cluster, parent_gateway
from berth.platforms.kubernetes.parent_gateway import find_url
from berth.spec import HostingSpec, SpecError
from pulumi_berth.kubernetes import accepted_route, parent_gateway_check
from pulumi_berth.kubernetes.accepted_route import build_request, wait_until_accepted
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.parent_gateway import (
    ParentGatewayArgs,
    build_callers,
    build_parent_ref,
)
from pulumi_berth.kubernetes.parent_gateway_check import (
    GatewayFacts,
    find_parent_problems,
    find_route_problem,
)

Facts = dict[str, Any]
_PARENT = {"name": "shared", "namespace": "infra"}
_ACCESS = cluster.ClusterAccess(kubeconfig=None, context=None)
_TRUE = [{"type": kind, "status": "True", "reason": kind} for kind in ("Accepted", "Programmed")]
_ALL = {"namespaces": {"from": "All"}}


def _listener(name: str, protocol: str, port: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "protocol": protocol, "port": port, "allowedRoutes": _ALL} | more


def _facts() -> Facts:
    gateway = {
        "metadata": {"name": "shared", "namespace": "infra", "generation": 1},
        "spec": {
            "gatewayClassName": "shared",
            "listeners": [
                _listener("http", "HTTP", 80),
                _listener("https", "HTTPS", 443),
                _listener("wild", "HTTPS", 8443, hostname="*.example.com"),
                _listener("same", "HTTPS", 443, allowedRoutes={}),
                _listener("tcp", "TCP", 9000),
            ],
        },
        "status": {
            "addresses": [{"value": "192.0.2.1"}],
            "conditions": _TRUE,
            "listeners": [{"name": "https", "conditions": _TRUE}],
        },
    }
    return {
        "kinds": frozenset({"gateways", "httproutes"}),
        "gateway": gateway,
        "gateway_class": {"metadata": {"name": "shared"}, "status": {"conditions": _TRUE[:1]}},
        "namespace_labels": None,
        "routes": [],
    }


def _parent(section: str | None = "https", **more: Any) -> ParentGatewayArgs:
    return ParentGatewayArgs(name="shared", namespace="infra", section_name=section, **more)


def _find(facts: Facts, parent: ParentGatewayArgs, *hostnames: str) -> list[str]:
    request = build_request(parent, "berth", hostnames)
    return list(find_parent_problems(request, GatewayFacts(**facts)))


@pytest.mark.parametrize(
    ("parent", "hostnames", "url"),
    [
        (_parent(), (), "https://192.0.2.1"),
        (_parent(), ("a.example.com",), "https://a.example.com"),
        (_parent("wild"), ("a.b.example.com",), "https://a.b.example.com:8443"),
        (_parent("http", plain_http=True), (), "http://192.0.2.1"),
        (_parent(None, plain_http=True), ("a.example.org",), "http://a.example.org"),
    ],
)
def test_gateway_that_admits_the_route_has_a_url(
    parent: ParentGatewayArgs, hostnames: tuple[str, ...], url: str
) -> None:
    facts = _facts()
    assert _find(facts, parent, *hostnames) == []
    assert find_url(build_request(parent, "berth", hostnames), GatewayFacts(**facts)) == url


def test_wildcard_listener_without_host_name_has_no_url() -> None:
    request = build_request(_parent("wild"), "berth", ())
    assert find_url(request, GatewayFacts(**_facts())) is None


@pytest.mark.parametrize(
    ("parent", "hostnames", "expected"),
    [
        (_parent("none"), (), "has no listener none; its listeners: http, https, wild, same, tcp"),
        (_parent("http"), (), "listener http of Gateway infra/shared serves plain HTTP"),
        # Without a listener's name, the route is also attached to the one with plain HTTP.
        (_parent(None), (), "listener http of Gateway infra/shared serves plain HTTP"),
        (_parent("tcp"), (), "listener tcp of Gateway infra/shared serves TCP"),
        (_parent("same"), (), "admits only routes of its own namespace, not of berth"),
        (_parent("wild"), ("a.example.org",), "serves *.example.com; kubernetes.hostnames needs"),
        (_parent("wild"), ("example.com",), "serves *.example.com; kubernetes.hostnames needs"),
        (
            _parent("wild"), ("a.example.com", "a.example.org"),
            "no listener of Gateway infra/shared serves a.example.org",
        ),
    ],
)  # fmt: skip
def test_listener_that_does_not_admit_the_route_is_a_problem(
    parent: ParentGatewayArgs, hostnames: tuple[str, ...], expected: str
) -> None:
    (problem,) = _find(_facts(), parent, *hostnames)
    assert expected in problem


def _set(*path: Any, value: Any) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        node: Any = facts
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value

    return change


_FALSE = [{"type": "Accepted", "status": "False", "reason": "Invalid", "message": "no parameters"}]
_UNKNOWN = [{"type": "Programmed", "status": "Unknown", "reason": "Pending"}]
_LISTENERS = ("gateway", "spec", "listeners", 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("kinds", value=frozenset({"gateways"})), "serves no httproutes"),
        (_set("gateway", value=None), "Gateway infra/shared does not exist or may not be read"),
        (
            _set("gateway_class", "status", "conditions", value=_FALSE),
            "GatewayClass shared is not accepted (Invalid: no parameters)",
        ),
        (
            _set("gateway", "status", "conditions", value=_UNKNOWN),
            "Gateway infra/shared is not programmed (Pending: no message)",
        ),
        (
            _set("gateway", "status", "listeners", 0, "conditions", value=_FALSE),
            "listener https of Gateway infra/shared is not accepted (Invalid: no parameters)",
        ),
        (
            _set(*_LISTENERS, "allowedRoutes", "kinds", value=[{"kind": "GRPCRoute"}]),
            "admits no HTTPRoute (allowedRoutes.kinds)",
        ),
    ],
)
def test_gateway_that_is_not_ready_is_a_problem(
    change: Callable[[Facts], None], expected: str
) -> None:
    facts = copy.deepcopy(_facts())
    change(facts)
    (problem,) = _find(facts, _parent())
    assert expected in problem


def _select(selector: dict[str, Any], labels: dict[str, str] | None) -> list[str]:
    facts = copy.deepcopy(_facts())
    allowed = {"namespaces": {"from": "Selector", "selector": selector}}
    _set(*_LISTENERS, "allowedRoutes", value=allowed)(facts)
    facts["namespace_labels"] = labels
    return _find(facts, _parent())


def _expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ({}, None),
        ({"matchLabels": {"kubernetes.io/metadata.name": "berth"}}, None),
        ({"matchLabels": {"app.kubernetes.io/part-of": "berth"}}, None),
        ({"matchLabels": {"team": "ml"}}, {"team": "ml"}),
        (_expression("team", "In", "ml", "web"), {"team": "ml"}),
        (_expression("team", "NotIn", "web"), {}),
        (_expression("team", "Exists"), {"team": "ml"}),
        (_expression("team", "DoesNotExist"), None),
    ],
)
def test_namespace_that_the_selector_matches_is_admitted(
    selector: dict[str, Any], labels: dict[str, str] | None
) -> None:
    assert _select(selector, labels) == []


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({"matchLabels": {"team": "ml"}}, None, "team=ml"),
        ({"matchLabels": {"team": "ml"}}, {"team": "web"}, "team=ml"),
        (_expression("team", "In", "ml", "web"), None, "team In ml web"),
        (_expression("team", "NotIn", "ml"), {"team": "ml"}, "team NotIn ml"),
        (_expression("team", "Exists"), {}, "team Exists"),
        (_expression("team", "DoesNotExist"), {"team": "ml"}, "team DoesNotExist"),
        (_expression("team", "Unknown"), {"team": "ml"}, "team Unknown"),
    ],
)
def test_namespace_that_the_selector_does_not_match_is_a_problem(
    selector: dict[str, Any], labels: dict[str, str] | None, expected: str
) -> None:
    (problem,) = _select(selector, labels)
    assert f"does not admit routes of namespace berth (allowedRoutes.namespaces: {expected})" in (
        problem
    )
    assert "adopt_namespace" in problem


def _route(
    paths: list[tuple[str, str]], hostnames: list[str], *, name: str = "web", **ref: str
) -> dict[str, Any]:
    matches = [{"path": {"type": kind, "value": value}} for kind, value in paths]
    return {
        "metadata": {"name": name, "namespace": "berth" if name == "berth.gateway" else "team"},
        "spec": {
            "parentRefs": [{"name": "shared", "namespace": "infra"} | ref],
            "hostnames": hostnames,
            "rules": [{"matches": matches}] if matches else [],
        },
    }


_PREFIX, _EXACT = "PathPrefix", "Exact"


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (_route([], ["a.example.com"]), "/"),
        (_route([(_PREFIX, "/")], ["b.example.com", "a.example.com"]), "/"),
        (_route([(_PREFIX, "/app"), (_PREFIX, "/v2/")], ["a.example.com"]), "/v2/"),
        (_route([(_EXACT, "/v2/models/m/infer")], ["a.example.com"]), "/v2/models/m/infer"),
        (_route([(_EXACT, "/docs")], ["a.example.com"], sectionName="https"), "/docs"),
    ],
)
def test_route_of_someone_else_for_the_same_requests_is_a_problem(
    route: dict[str, Any], path: str
) -> None:
    (problem,) = _find(_facts() | {"routes": [route]}, _parent(), "a.example.com")
    assert f"HTTPRoute team/web of the same Gateway already has path {path} for" in problem


@pytest.mark.parametrize(
    "route",
    [
        _route([(_PREFIX, "/")], ["b.example.com"]),
        # Any host name is less specific than the stack's own.
        _route([(_PREFIX, "/")], []),
        _route([(_PREFIX, "/app"), (_PREFIX, "/v2x"), (_EXACT, "/")], ["a.example.com"]),
        _route([(_PREFIX, "/")], ["a.example.com"], name="berth.gateway"),
        _route([(_PREFIX, "/")], ["a.example.com"], sectionName="http"),
        _route([(_PREFIX, "/")], ["a.example.com"], namespace="other"),
        _route([(_PREFIX, "/")], ["a.example.com"], kind="Service", group=""),
    ],
)
def test_route_of_someone_else_for_other_requests_is_accepted(route: dict[str, Any]) -> None:
    assert _find(_facts() | {"routes": [route]}, _parent(), "a.example.com") == []


def _status(conditions: dict[str, str], generation: int = 2) -> dict[str, Any]:
    return {
        "controllerName": "example.com/controller",
        "parentRef": {"name": "shared", "namespace": "infra", "sectionName": "https"},
        "conditions": [
            {
                "type": kind,
                "status": "True" if reason == kind else "False",
                "reason": reason,
                "message": "because",
                "observedGeneration": generation,
            }
            for kind, reason in conditions.items()
        ],
    }


_ACCEPTED = {"Accepted": "Accepted", "ResolvedRefs": "ResolvedRefs"}


@pytest.mark.parametrize(
    ("parents", "reason"),
    [
        ([_status(_ACCEPTED)], None),
        ([_status({"Accepted": "NotAllowedByListeners"}), _status(_ACCEPTED)], None),
        ([], "Pending"),
        ([_status({"Accepted": "Accepted"})], "Pending"),
        # The controller has only seen the route before the last change.
        ([_status(_ACCEPTED, 1)], "Pending"),
        ([_status({"Accepted": "NotAllowedByListeners"})], "NotAllowedByListeners"),
        ([_status({"Accepted": "Accepted", "ResolvedRefs": "BackendNotFound"})], "BackendNotFound"),
        ([{**_status(_ACCEPTED), "parentRef": {"name": "other"}}], "Pending"),
    ],
)
def test_route_is_ready_once_the_controller_accepts_its_latest_generation(
    parents: list[dict[str, Any]], reason: str | None
) -> None:
    route = {
        "metadata": {"namespace": "berth", "generation": 2},
        "status": {"parents": parents},
    }
    problem = find_route_problem(_parent(), route)
    assert (problem and problem[0]) == reason


@pytest.fixture
def show_routes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the cluster return these states of the route, one after the other, then the last one."""

    def show(*statuses: dict[str, str] | None) -> None:
        remaining = list(statuses)

        def find(_client: object, path: str) -> dict[str, Any] | None:
            assert (
                path == "/apis/gateway.networking.k8s.io/v1/namespaces/n/httproutes/berth.gateway"
            )
            status = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            if status is None:
                return None
            metadata = {"namespace": "n", "generation": 2}
            return {"metadata": metadata, "status": {"parents": [_status(status)]}}

        for access in (ClusterAccess, cluster.ClusterAccess):
            monkeypatch.setattr(access, "create_client", lambda _: object())
        monkeypatch.setattr(parent_gateway_check, "find_object", find)

    return show


_REJECTED = {"Accepted": "NotAllowedByListeners"}
_INPUTS = {"parent": _PARENT | {"section_name": "https"}, "namespace": "n", "hostnames": []}


def test_update_waits_until_the_controller_accepts_the_route(
    show_routes: Callable[..., None],
) -> None:
    # A controller that has not seen the Service yet rejects the route at first.
    show_routes(None, {}, {"Accepted": "Accepted", "ResolvedRefs": "BackendNotFound"}, _ACCEPTED)
    pauses: list[float] = []
    assert wait_until_accepted(_INPUTS, sleep=pauses.append) == "infra/shared"
    assert len(pauses) == 3


@pytest.mark.parametrize(
    ("status", "expected"),
    [(_REJECTED, "NotAllowedByListeners: because"), ({}, "Pending"), (None, "missing")],
)
def test_update_fails_with_the_reason_of_the_controller(
    show_routes: Callable[..., None], monkeypatch: pytest.MonkeyPatch, status: Any, expected: str
) -> None:
    for limit in ("_REJECTED_SECONDS", "_PENDING_SECONDS"):
        monkeypatch.setattr(accepted_route, limit, 0.0)
    show_routes(status)
    with pytest.raises(TimeoutError, match=rf"Gateway infra/shared did not accept .*{expected}"):
        wait_until_accepted(_INPUTS, sleep=lambda _: None)


def test_preview_reports_a_gateway_that_does_not_admit_the_route(
    show_routes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_routes(None)
    facts = GatewayFacts(**_facts())
    monkeypatch.setattr(accepted_route, "read_facts", lambda *_: facts)
    assert accepted_route.find_problems(_INPUTS) == []
    (problem,) = accepted_route.find_problems(
        {**_INPUTS, "parent": _PARENT | {"section_name": "same"}}
    )
    assert "admits only routes of its own namespace" in problem


def test_gateway_that_cannot_be_read_is_a_problem(
    show_routes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> GatewayFacts:
        raise RuntimeError("(500)\nInternal Server Error")

    show_routes(None)
    monkeypatch.setattr(accepted_route, "read_facts", fail)
    monkeypatch.setattr(parent_gateway, "read_facts", fail)
    expected = "could not read Gateway infra/shared: (500) Internal Server Error; try again"
    assert accepted_route.find_problems(_INPUTS) == [expected]
    spec = HostingSpec.model_validate(_SPEC | {"kubernetes": {"parent_gateway": _PARENT}})
    with pytest.raises(SpecError, match=r"could not read Gateway infra/shared: \(500\) Internal"):
        parent_gateway.require_parent_gateway(_ACCESS, spec)


@pytest.mark.parametrize(
    ("status", "state", "is_explained"),
    [(_ACCEPTED, "ready", False), (_REJECTED, "NotAllowedByListeners", True),
     (None, "missing", False)],
)  # fmt: skip
def test_status_shows_why_the_gateway_rejects_the_route(
    show_routes: Callable[..., None], status: Any, state: str, is_explained: bool
) -> None:
    show_routes(status)
    outputs = {"namespace": "n", "parent_gateway": _PARENT | {"section_name": "https"}}
    assert parent_gateway.find_route_state(object(), outputs) == state
    explanation = parent_gateway.explain_route(object(), "n", _parent())
    assert (explanation is not None) is is_explained


def test_route_refers_to_the_listener_and_only_its_controller_may_call() -> None:
    assert build_parent_ref(_parent(None)) == {"name": "shared", "namespace": "infra"}
    assert build_parent_ref(_parent())["sectionName"] == "https"

    def select(name: str) -> dict[str, Any]:
        return {"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": name}}}

    addresses = {"ip_block": {"cidr": "192.0.2.0/24"}}
    assert build_callers(_parent()) == [select("infra")]
    assert build_callers(_parent(controller_labels={"app": "envoy"})) == [
        {**select("infra"), "pod_selector": {"match_labels": {"app": "envoy"}}}
    ]
    assert build_callers(_parent(controller_cidrs=["192.0.2.0/24"])) == [addresses]
    both = _parent(controller_cidrs=["192.0.2.0/24"], controller_namespace="envoy")
    assert build_callers(both) == [select("envoy"), addresses]


_SPEC: dict[str, Any] = {
    "platform": "kubernetes",
    "models": {"digits": {"versions": {"1": {}}}},
    "registry": {"url": "registry.example.com/berth"},
}


@pytest.mark.parametrize(
    ("kubernetes", "more", "expected"),
    [
        ({"controller_replicas": 3}, {}, "applies to the stack's own Traefik"),
        ({"service": {"type": "LoadBalancer"}}, {}, "applies to the stack's own Traefik"),
        ({"tls_secret": "tls"}, {}, "applies to the stack's own Traefik"),
        (
            {"parent_gateway": _PARENT | {"url": "http://192.0.2.1"}}, {},
            "is not encrypted",
        ),
        (
            {"parent_gateway": _PARENT | {"url": "https://192.0.2.1/path"}}, {},
            "without a path",
        ),
        (
            {
                "parent_gateway": _PARENT
                | {"controller_labels": {"a": "b"}, "controller_cidrs": ["192.0.2.0/24"]}
            }, {},
            "requires controller_namespace",
        ),
        (
            {}, {"edge": {"sites": {"east": {"kubeconfig": "x", "models": ["digits"]}}}},
            "cannot be combined with edge.sites",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_with_an_existing_gateway_are_rejected(
    kubernetes: dict[str, Any], more: dict[str, Any], expected: str
) -> None:
    sections = {"kubernetes": {"parent_gateway": _PARENT} | kubernetes}
    with pytest.raises(ValueError, match=expected):
        HostingSpec.model_validate(_SPEC | sections | more)
