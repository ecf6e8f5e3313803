"""Tests of the plans of berths and of routes, which are plain data."""

import re

import pytest

from berth_protocol.paths import infer_path
from pulumi_berth.hosted_models import (
    HostedModelArgs,
    HostedVersionArgs,
    ReplicaArgs,
    ResourceArgs,
)
from pulumi_berth.kubernetes.berth_plan import (
    GpuPlacement,
    build_berth_plan,
    get_berth_name,
    plan_replicas,
)
from pulumi_berth.kubernetes.route_plan import (
    KNOWN_LENGTH,
    RoutePlan,
    build_route_rules,
    build_service_ref,
)

_FILTER = {"type": "ExtensionRef"}


def _model(replicas: ReplicaArgs, *, traffic: int, cold: bool = False) -> HostedModelArgs:
    """Return a model whose version 1 has the rest of the traffic."""
    versions = {
        "1": HostedVersionArgs(directory="/models/digits/1"),
        "2": HostedVersionArgs(directory="/models/digits/2", cold_standby=cold),
    }
    split = {"1": 100 - traffic, "2": traffic}
    return HostedModelArgs(versions=versions, traffic=split, replicas=replicas)


@pytest.mark.parametrize(
    ("lowest", "highest", "traffic", "cold", "expected"),
    [
        (2, 5, 10, False, (2, 5)),
        (0, 3, 10, False, (1, 3)),  # A version in use has at least one replica.
        (2, 5, 0, False, (2, 2)),  # An unused version needs no autoscaler.
        (2, 5, 0, True, (0, 0)),
        (0, 3, 0, False, (0, 0)),
    ],
)
def test_planned_replicas_depend_on_use_and_standby(
    lowest: int, highest: int, traffic: int, cold: bool, expected: tuple[int, int]
) -> None:
    model = _model(ReplicaArgs(min=lowest, max=highest), traffic=traffic, cold=cold)
    replicas = plan_replicas(model, "2")
    assert (replicas.min, replicas.max) == expected


def test_autoscaler_ignores_pod_metrics_that_the_cluster_does_not_serve() -> None:
    model = _model(ReplicaArgs(target_in_flight=8), traffic=10)
    assert plan_replicas(model, "1").target_in_flight is None
    assert plan_replicas(model, "1", has_pod_metrics=True).target_in_flight == 8


@pytest.mark.parametrize(
    ("replicas", "is_autoscaled"),
    [(ReplicaArgs(), False), (ReplicaArgs(min=2), False), (ReplicaArgs(max=2), True)],
)
def test_berth_is_autoscaled_if_replicas_are_a_range(
    replicas: ReplicaArgs, is_autoscaled: bool
) -> None:
    assert build_berth_plan(replicas, None).is_autoscaled is is_autoscaled


def test_minimum_above_maximum_is_rejected() -> None:
    with pytest.raises(ValueError, match="min is 3 and max is 2"):
        build_berth_plan(ReplicaArgs(min=3, max=2), None)


def test_berth_name_replaces_dots() -> None:
    assert get_berth_name("digits", "1.10") == "digits-1-10"


def _plan(traffic: dict[str, int], exposed: list[str]) -> RoutePlan:
    services = {
        version: build_service_ref(f"digits-{version}", 8080)
        for version in dict.fromkeys(("1", "2", "3", *exposed))
    }
    return RoutePlan(
        model="digits",
        split_backends=services,
        traffic=traffic,
        version_backends={version: services[version] for version in exposed},
        gateway=build_service_ref("gateway", 8080),
    )


def test_requests_without_version_are_split_by_weight() -> None:
    first, *_ = build_route_rules(_plan({"1": 90, "2": 10, "3": 0}, ["1", "2"]), [_FILTER])
    assert [match["path"] for match in first["matches"]] == [
        {"type": "Exact", "value": "/v2/models/digits/infer"},
        {"type": "Exact", "value": "/v2/models/digits/infer/"},
    ]
    assert {match["method"] for match in first["matches"]} == {"POST"}
    assert first["backendRefs"] == [
        {"name": "digits-1", "port": 8080, "weight": 90},
        {"name": "digits-2", "port": 8080, "weight": 10},
    ]
    assert first["filters"] == [_FILTER]


def test_route_has_a_rule_for_each_exposed_version() -> None:
    _, _, _, *version_rules = build_route_rules(_plan({"1": 100}, ["1", "3"]), [_FILTER])
    paths = [rule["matches"][0]["path"]["value"] for rule in version_rules]
    assert paths == [f"/v2/models/digits/versions/{version}/infer" for version in ("1", "3")]
    assert [rule["backendRefs"] for rule in version_rules] == [
        [{"name": "digits-1", "port": 8080}],
        [{"name": "digits-3", "port": 8080}],
    ]


def test_model_with_a_shadow_leaves_requests_without_version_to_the_gateway() -> None:
    rules = build_route_rules(_plan({}, ["1"]), [_FILTER])
    paths = [rule["matches"][0]["path"]["value"] for rule in rules]
    assert paths == ["/v2/models/digits/versions/1/infer"]


def test_gpus_are_given_to_the_successor_unless_there_are_free_ones() -> None:
    gpus = ResourceArgs(gpus=1)
    assert build_berth_plan(None, None).surges is True
    assert build_berth_plan(None, gpus).surges is False
    assert build_berth_plan(None, gpus, GpuPlacement(taint="gpu")).surges is False
    assert build_berth_plan(None, gpus, GpuPlacement(surge=True)).surges is True


def test_changed_weights_change_only_the_weights() -> None:
    before = build_route_rules(_plan({"1": 90, "2": 10}, ["1", "2"]), [_FILTER])
    after = build_route_rules(_plan({"1": 10, "2": 90}, ["1", "2"]), [_FILTER])
    assert before[3:] == after[3:]
    for old, new in zip(before[:3], after[:3], strict=True):
        assert old["matches"] == new["matches"]
    assert before[1]["backendRefs"] == after[1]["backendRefs"]


@pytest.mark.parametrize("length", ["0", "9", "99999", "199999"])
def test_request_with_short_body_reaches_a_berth_directly(length: str) -> None:
    assert _is_direct(length)


@pytest.mark.parametrize("length", ["200000", "262144", "300000", "1000000", "99999999", "", "0x9"])
def test_request_with_long_body_reaches_the_gateway(length: str) -> None:
    """A controller written in Go reads at most 256 KiB of a body that nobody reads."""
    assert not _is_direct(length)


def _is_direct(length: str) -> bool:
    rules = build_route_rules(_plan({"1": 90, "2": 10}, ["1"]), [_FILTER])
    direct = [rule for rule in rules if rule["backendRefs"][0]["name"] != "gateway"]
    headers = [match["headers"] for rule in direct for match in rule["matches"]]
    assert len(headers) == 4
    [[condition]] = [each for index, each in enumerate(headers) if each not in headers[:index]]
    assert (condition["type"], condition["name"]) == ("RegularExpression", "Content-Length")
    return re.search(condition["value"], length) is not None


def test_request_with_long_body_states_the_weights_to_the_gateway() -> None:
    plan = _plan({"1": 90, "2": 10, "3": 0}, ["1"])
    first, long, unknown, *_ = build_route_rules(plan, [_FILTER], [_FILTER])
    weights = {"name": "x-berth-traffic", "value": "1=90,2=10"}
    for rule in (long, unknown):
        assert [match["path"] for match in rule["matches"]] == [
            match["path"] for match in first["matches"]
        ]
        assert rule["backendRefs"] == [{"name": "gateway", "port": 8080}]
    assert all(match["headers"] == [KNOWN_LENGTH] for match in long["matches"])
    assert all("headers" not in match for match in unknown["matches"])
    [modifier] = long["filters"]
    assert modifier["requestHeaderModifier"] == {"set": [weights]}
    body_filter, modifier = unknown["filters"]
    assert body_filter == _FILTER
    assert modifier["requestHeaderModifier"] == {
        "set": [weights, {"name": "x-berth-unknown-length", "value": "1"}]
    }


def test_route_has_at_most_sixteen_rules_and_the_gateway_receives_the_rest() -> None:
    versions = [str(number) for number in range(1, 31)]
    rules = build_route_rules(_plan({"1": 100}, versions), [_FILTER], [_FILTER])
    assert len(rules) == 16
    paths = [rule["matches"][0]["path"]["value"] for rule in rules[3:]]
    assert paths == [infer_path("digits", version) for version in versions[:13]]
