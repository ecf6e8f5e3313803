"""How many copies a berth has, and where its traffic goes: plain data."""

from typing import Literal

import pytest

from pulumi_berth.kubernetes.berth_plan import BerthPlan, berth_name, copies
from pulumi_berth.kubernetes.traffic_plan import ModelTraffic, route_rules, service_ref

_FILTER = {"type": "ExtensionRef"}


@pytest.mark.parametrize(
    ("fewest", "most", "in_use", "standby", "expected"),
    [
        (2, 5, True, "warm", (2, 5)),
        (0, 3, True, "warm", (1, 3)),  # what clients reach has a copy
        (2, 5, False, "warm", (2, 2)),  # no autoscaler while nothing comes
        (2, 5, False, "cold", (0, 0)),
        (0, 3, False, "warm", (0, 0)),
    ],
)
def test_copies(
    fewest: int,
    most: int,
    in_use: bool,
    standby: Literal["warm", "cold"],
    expected: tuple[int, int],
) -> None:
    assert copies(fewest=fewest, most=most, in_use=in_use, standby=standby) == expected


@pytest.mark.parametrize(("at_rest", "most", "autoscaled"), [(1, 1, False), (1, 2, True)])
def test_an_autoscaler_is_for_a_range(at_rest: int, most: int, autoscaled: bool) -> None:
    plan = BerthPlan(
        copies=at_rest, most_copies=most, target_cpu_percent=70, target_in_flight=None,
        cpu="1", memory="1Gi", gpus=0,
    )  # fmt: skip
    assert plan.autoscaled is autoscaled


def test_names_have_no_dots() -> None:
    assert berth_name("digits", "1.10") == "digits-1-10"


def _traffic(traffic: dict[str, int], exposed: list[str]) -> ModelTraffic:
    services = {version: service_ref(f"digits-{version}", 8080) for version in ("1", "2", "3")}
    return ModelTraffic(
        model="digits",
        shared=services,
        traffic=traffic,
        named={version: services[version] for version in exposed},
    )


def test_requests_without_a_version_are_split_by_weight() -> None:
    first, *_ = route_rules(_traffic({"1": 90, "2": 10, "3": 0}, ["1", "2"]), [_FILTER])
    assert first["matches"] == [
        {"path": {"type": "Exact", "value": "/v2/models/digits/infer"}, "method": "POST"}
    ]
    assert first["backendRefs"] == [
        {"name": "digits-1", "port": 8080, "weight": 90},
        {"name": "digits-2", "port": 8080, "weight": 10},
    ]
    assert first["filters"] == [_FILTER]


def test_each_exposed_version_can_be_named() -> None:
    _, *named = route_rules(_traffic({"1": 100}, ["1", "3"]), [_FILTER])
    paths = [rule["matches"][0]["path"]["value"] for rule in named]
    assert paths == [f"/v2/models/digits/versions/{version}/infer" for version in ("1", "3")]
    assert [rule["backendRefs"] for rule in named] == [
        [{"name": "digits-1", "port": 8080}],
        [{"name": "digits-3", "port": 8080}],
    ]


def test_changed_weights_change_weights_alone() -> None:
    before = route_rules(_traffic({"1": 90, "2": 10}, ["1", "2"]), [_FILTER])
    after = route_rules(_traffic({"1": 10, "2": 90}, ["1", "2"]), [_FILTER])
    assert before[1:] == after[1:]
    assert before[0]["matches"] == after[0]["matches"]
