"""What AWS refuses, and that Berth's plans stay within it."""

from datetime import date

import pytest

from berth.platforms.aws.leftovers import is_leftover, list_prefixes
from pulumi_berth.aws.cluster_leftovers import is_group_of_cluster, is_left_by_cluster
from pulumi_berth.aws.pool_size import PoolState, plan_size
from tests.aws import strict_rules

_TODAY = date(2026, 11, 26)
_TYPES = ("m7i.large",)


def _pool(minimum: int, maximum: int, desired: int) -> PoolState:
    return PoolState(
        min_nodes=minimum,
        max_nodes=maximum,
        desired_nodes=desired,
        instance_types=_TYPES,
        spot=True,
    )


@pytest.mark.parametrize(
    ("bounds", "desired", "expected"),
    [
        ((2, 4), 3, (3, True)),  # nothing changes: the count stays the autoscaler's
        ((2, 9), 3, (3, False)),  # a new maximum keeps the count
        ((4, 4), 3, (4, False)),  # a minimum above the count raises it
        ((1, 2), 4, (2, False)),  # a maximum below the count lowers it
    ],
)
def test_plan_keeps_the_count_within_the_new_bounds(
    bounds: tuple[int, int], desired: int, expected: tuple[int, bool]
) -> None:
    """The group was created with 2 nodes, which is what Pulumi's state still contains."""
    minimum, maximum = bounds
    plan = plan_size(
        min_nodes=minimum, max_nodes=maximum, initial_nodes=2, instance_types=_TYPES, spot=True,
        current=_pool(2, 4, desired),
    )  # fmt: skip
    assert (plan.desired_nodes, plan.keeps_count) == expected
    change = {"minSize": minimum, "maxSize": maximum, "desiredSize": plan.desired_nodes}
    current = {"minSize": 2, "maxSize": 4, "desiredSize": desired}
    assert strict_rules.check_scaling(current, change) is None


def test_count_of_the_state_is_refused_below_a_new_minimum() -> None:
    current = {"minSize": 2, "maxSize": 4, "desiredSize": 2}
    refusal = strict_rules.check_scaling(current, {"minSize": 3, "maxSize": 4, "desiredSize": 2})
    assert refusal is not None
    assert refusal.message == "Minimum capacity 3 can't be greater than desired size 2"


def test_replacement_group_starts_with_the_count_of_the_old_group() -> None:
    plan = plan_size(
        min_nodes=2, max_nodes=9, initial_nodes=2, instance_types=("m6i.large",), spot=True,
        current=_pool(2, 9, 7),
    )  # fmt: skip
    assert (plan.desired_nodes, plan.keeps_count) == (7, False)


def test_unknown_principal_is_refused() -> None:
    arn = "arn:aws:iam::123456789012:role/nobody"
    assert strict_rules.check_principal(arn, [arn]) is None
    assert strict_rules.check_principal(arn, []) is not None


@pytest.mark.parametrize(
    ("old", "new", "is_refused"),
    [("1.35", "1.36", False), ("1.34", "1.36", True), ("1.36", "1.35", True)],
)
def test_upgrade_goes_one_minor_version_at_a_time(old: str, new: str, is_refused: bool) -> None:
    assert (strict_rules.check_upgrade(old, new, _TODAY) is not None) == is_refused


def test_versions_that_do_not_go_together_are_refused() -> None:
    assert strict_rules.check_version("1.20", _TODAY) is not None
    assert strict_rules.check_node_version("1.35", "1.36") is not None
    assert strict_rules.check_addon("kube-proxy", "v1.36.0-eksbuild.14", "1.35") is not None
    assert strict_rules.check_addon("kube-proxy", "v1.35.3-eksbuild.13", "1.36") is None
    assert strict_rules.check_addon("coredns", None, "1.36") is not None


def test_tag_of_no_bill_cannot_be_activated() -> None:
    (error,) = strict_rules.check_activation(["berth:stack", "owner"], ["owner"])
    assert error["TagKey"] == "berth:stack"


def test_log_group_of_an_ended_cluster_comes_back() -> None:
    group = "/aws/eks/berth-dev/cluster"
    assert strict_rules.find_late_clusters(["berth-dev", "berth-prod"], group) == ["berth-dev"]
    assert strict_rules.find_late_clusters([], group) == []
    assert group.startswith(list_prefixes("dev"))


@pytest.mark.parametrize(
    ("group", "tags", "expected"),
    [
        ({"logGroupName": "/aws/eks/berth-dev/cluster"}, {}, True),
        ({"logGroupName": "/aws/eks/berth-dev/cluster"}, {"berth:stack": "dev"}, False),
        ({"retentionInDays": 14}, {}, False),
        ({"kmsKeyId": "arn:aws:kms:eu-central-1:123456789012:key/1"}, {}, False),
    ],
)
def test_only_groups_that_aws_created_are_leftovers(
    group: dict[str, object], tags: dict[str, str], expected: bool
) -> None:
    assert is_leftover(group, tags) == expected


def _interface(status: str, description: str, tags: dict[str, str]) -> dict[str, object]:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"Status": status, "Description": description, "TagSet": listed}


_LEAKED = strict_rules.describe_leaked_interface("berth-dev", "i-1")


@pytest.mark.parametrize(
    ("interface", "expected"),
    [
        (_interface("available", *_LEAKED), True),
        (_interface("in-use", *_LEAKED), False),  # a node has it
        (_interface("available", "ELB net/team/1", {}), False),
        (_interface("available", "aws-K8S-i-1", {}), False),  # of some cluster
        (_interface("available", "Mine", {"kubernetes.io/cluster/berth-dev": "owned"}), False),
        (
            _interface("available", *strict_rules.describe_leaked_interface("berth-dev2", "i-1")),
            False,
        ),
    ],
)
def test_only_unused_interfaces_of_the_cluster_are_leftovers(
    interface: dict[str, object], expected: bool
) -> None:
    assert is_left_by_cluster(interface, "berth-dev") == expected


@pytest.mark.parametrize(
    ("name", "cluster", "expected"),
    [
        ("eks-cluster-sg-berth-dev-123", "berth-dev", True),
        ("eks-cluster-sg-berth-dev-2-123", "berth-dev-2", False),
        ("eks-cluster-sg-berth-dev-123", None, False),
        ("web", "berth-dev", False),
    ],
)
def test_only_the_group_of_the_cluster_is_a_leftover(
    name: str, cluster: str | None, expected: bool
) -> None:
    tags = [] if cluster is None else [{"Key": "aws:eks:cluster-name", "Value": cluster}]
    assert is_group_of_cluster({"GroupName": name, "Tags": tags}, "berth-dev") == expected


def test_network_with_dependents_is_not_deleted() -> None:
    assert strict_rules.check_network_deletion([], "subnet-1") is None
    refusal = strict_rules.check_network_deletion(["eni-1"], "subnet-1")
    assert refusal is not None
    assert refusal.code == "DependencyViolation"
