"""The Pods of a stack fit on its nodes, daemons and add-ons included."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from berth.platforms.aws import capacity
from berth.spec import HostingSpec, SpecError, load_file
from berth.spec.fields import parse_memory_bytes, parse_millicores
from tests.aws.reality.declared import declare
from tests.repository import REPOSITORY
from tests.unit.spec_file import changed, config_of, load


def _load(stack: str) -> HostingSpec:
    return load_file(REPOSITORY / f"Pulumi.{stack}.yaml")


def _edit(directory: Path, changes: dict[str, Any]) -> HostingSpec:
    """Load dev's specification with changed values."""
    return load(directory, changed(config_of("dev"), changes), "dev")


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_pods_fit_on_the_initial_nodes(stack: str) -> None:
    fits = capacity.check_fit(_load(stack))
    assert [fit.compute for fit in fits] == ["cpu"]
    assert [pod.name for pod in fits[0].unplaced] == []


def test_full_cores_for_each_berth_need_a_third_node(tmp_path: Path) -> None:
    """Two m7i.large leave 2960m for Pods; these need 3350m."""
    spec = _edit(
        tmp_path,
        {
            "models.digits.resources": {"cpu": "1", "memory": "512Mi"},
            "models.breast-cancer.resources": {"cpu": "500m", "memory": "256Mi"},
        },
    )
    (warning,) = capacity.find_capacity_warnings(spec)
    assert "need 3350m CPU" in warning
    assert "2 initial cpu nodes leave 2960m CPU" in warning
    capacity.require_capacity(spec)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"models.digits.resources": {"cpu": "2", "memory": "512Mi"}},
            "digits-1 requests 2000m CPU, 512 MiB memory, and no node of general has",
        ),
        (
            {"models.digits.resources": {"cpu": "100m", "memory": "7Gi"}},
            "digits-1 requests 100m CPU, 7168 MiB memory, and no node of general has",
        ),
        (
            {"models.digits.replicas": {"min": 9, "max": 9, "target_cpu_percent": 70}},
            "4 cpu nodes, the maximum of general, leave 5920m CPU",
        ),
    ],
)
def test_specification_that_cannot_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SpecError, match=expected):
        capacity.require_capacity(_edit(tmp_path, changes))


def test_node_of_known_type_has_the_allocatable_of_bottlerocket() -> None:
    """By hand: 2 vCPUs less 70m; 8192 MiB less 7.5%, 29 * 11 + 255 MiB and 100 MiB; 29 Pods."""
    node = capacity.measure_node("general", "m7i.large", [])
    assert node is not None
    assert (node.cpu_millis, node.memory_mib, node.pods) == (1930, 7577 - 574 - 100, 29)
    assert [capacity.reserve_cpu(n) for n in (1, 2, 4, 8)] == [60.0, 70.0, 80.0, 90.0]


def test_unknown_instance_type_is_not_judged(tmp_path: Path) -> None:
    assert capacity.measure_node("general", "x99.large", []) is None
    spec = _edit(tmp_path, {"node_pools.general.instance_types": ["m99.large"]})
    assert capacity.check_fit(spec) == []


@pytest.mark.slow
def test_requests_are_those_of_the_declared_deployments() -> None:
    """The check repeats numbers of the components. This compares it with what they declare."""
    found: Counter[tuple[int, int]] = Counter()
    for resource in declare("dev"):
        if resource["type"] not in (
            "kubernetes:apps/v1:Deployment",
            "kubernetes:apps/v1:StatefulSet",
        ):
            continue
        spec = resource["inputs"]["spec"]
        requests = [
            container["resources"]["requests"]
            for container in spec["template"]["spec"]["containers"]
        ]
        cpu = sum(parse_millicores(request["cpu"]) for request in requests)
        memory = sum(parse_memory_bytes(request["memory"]) >> 20 for request in requests)
        found[cpu, memory] += int(spec.get("replicas", 1))
    addons = ("coredns", "metrics-server", "amazon-cloudwatch-observability")
    checked = Counter(
        (pod.cpu_millis, pod.memory_mib)
        for pod in capacity.find_pods(_load("dev"))
        if pod.name not in addons
    )
    assert checked == found
