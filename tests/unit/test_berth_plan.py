"""Tests of the plans of berths and of routes, which are plain data."""

from typing import Literal

import pytest

from pulumi_berth.kubernetes.berth_plan import BerthPlan, get_berth_name, plan_replicas
from pulumi_berth.kubernetes.route_plan import RoutePlan, build_route_rules, build_service_ref

_FILTER = {"type": "ExtensionRef"}


@pytest.mark.parametrize(
    ("min_replicas", "max_replicas", "is_in_use", "standby", "expected"),
    [
        (2, 5, True, "warm", (2, 5)),
        (0, 3, True, "warm", (1, 3)),  # A version in use has at least one replica.
        (2, 5, False, "warm", (2, 2)),  # An unused version needs no autoscaler.
        (2, 5, False, "cold", (0, 0)),
        (0, 3, False, "warm", (0, 0)),
    ],
)
def test_planned_replicas_depend_on_use_and_standby(
    min_replicas: int,
    max_replicas: int,
    is_in_use: bool,
    standby: Literal["warm", "cold"],
    expected: tuple[int, int],
) -> None:
    replicas = plan_replicas(
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        is_in_use=is_in_use,
        standby=standby,
    )
    assert replicas == expected


@pytest.mark.parametrize(
    ("min_replicas", "max_replicas", "is_autoscaled"), [(1, 1, False), (1, 2, True)]
)
def test_berth_is_autoscaled_if_replicas_are_a_range(
    min_replicas: int, max_replicas: int, is_autoscaled: bool
) -> None:
    plan = BerthPlan(
        min_replicas=min_replicas, max_replicas=max_replicas, target_cpu_percent=70,
        target_in_flight=None,
        cpu="1", memory="1Gi", gpus=0,
    )  # fmt: skip
    assert plan.is_autoscaled is is_autoscaled


def test_berth_name_replaces_dots() -> None:
    assert get_berth_name("digits", "1.10") == "digits-1-10"


def _plan(traffic: dict[str, int], exposed: list[str]) -> RoutePlan:
    services = {
        version: build_service_ref(f"digits-{version}", 8080) for version in ("1", "2", "3")
    }
    return RoutePlan(
        model="digits",
        split_backends=services,
        traffic=traffic,
        version_backends={version: services[version] for version in exposed},
    )


def test_requests_without_version_are_split_by_weight() -> None:
    first, *_ = build_route_rules(_plan({"1": 90, "2": 10, "3": 0}, ["1", "2"]), [_FILTER])
    assert first["matches"] == [
        {"path": {"type": "Exact", "value": "/v2/models/digits/infer"}, "method": "POST"}
    ]
    assert first["backendRefs"] == [
        {"name": "digits-1", "port": 8080, "weight": 90},
        {"name": "digits-2", "port": 8080, "weight": 10},
    ]
    assert first["filters"] == [_FILTER]


def test_route_has_a_rule_for_each_exposed_version() -> None:
    _, *version_rules = build_route_rules(_plan({"1": 100}, ["1", "3"]), [_FILTER])
    paths = [rule["matches"][0]["path"]["value"] for rule in version_rules]
    assert paths == [f"/v2/models/digits/versions/{version}/infer" for version in ("1", "3")]
    assert [rule["backendRefs"] for rule in version_rules] == [
        [{"name": "digits-1", "port": 8080}],
        [{"name": "digits-3", "port": 8080}],
    ]


def test_changed_weights_change_only_the_weights() -> None:
    before = build_route_rules(_plan({"1": 90, "2": 10}, ["1", "2"]), [_FILTER])
    after = build_route_rules(_plan({"1": 10, "2": 90}, ["1", "2"]), [_FILTER])
    assert before[1:] == after[1:]
    assert before[0]["matches"] == after[0]["matches"]
