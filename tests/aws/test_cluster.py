"""The components of an EKS cluster: control plane, add-ons, node pools, roles."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pulumi_berth.aws.eks_versions import AFTER_NODES, BEFORE_NODES, get_addon_versions
from tests.aws.emulation import ACCOUNT, Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_aws import ec2
from pulumi_berth.aws.cluster import Access, Cluster, ClusterArgs
from pulumi_berth.aws.cluster_addons import ClusterAddons, ClusterAddonsArgs
from pulumi_berth.aws.eks_versions import AFTER_NODES, BEFORE_NODES, get_addon_versions
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from pulumi_berth.aws.logs import LogSettings
from pulumi_berth.aws.node_pool import NodePool, NodePoolArgs, Taint
from pulumi_berth.aws.pool_size import look_up_pools
from pulumi_berth.aws.iam_roles import NodeRole, NodeRoleArgs, PodRole, PodRoleArgs

ACCOUNT = "123456789012"
VERSION = "1.35"
MIN, MAX, TYPES = 1, 3, ["m7i.large"]

vpc = ec2.Vpc("network", cidr_block="10.20.0.0/16")
subnets = [
    ec2.Subnet(zone, vpc_id=vpc.id, availability_zone=f"us-east-1{zone}", cidr_block=cidr).id
    for zone, cidr in (("a", "10.20.0.0/18"), ("b", "10.20.64.0/18"))
]
key = EncryptionKey("cluster", EncryptionKeyArgs(
    stack_name="test",
    purpose="Cluster", account=ACCOUNT, deletion_window_days=7))
cluster = Cluster("cluster", ClusterArgs(
    cluster_name="berth-test", version=VERSION, support="standard", subnet_ids=subnets,
    service_cidr="172.20.0.0/16", secrets_key=key.arn,
    logs=LogSettings(path_prefix="/berth/test", days=14, key=key.arn),
    access={"platform": Access(role_arn=f"arn:aws:iam::{ACCOUNT}:role/platform", level="admin")},
))
addons = dict(account=ACCOUNT, cluster_name=cluster.cluster_name, cluster_arn=cluster.arn,
              versions=get_addon_versions(VERSION))
before = ClusterAddons("before-nodes", ClusterAddonsArgs(names=BEFORE_NODES, **addons))
pools = look_up_pools("berth-test", pulumi.InvokeOptions())
role = NodeRole("nodes", NodeRoleArgs(stack_name="test"))
nodes = pulumi.ResourceOptions(depends_on=[before])
common = dict(stack_name="test",
              cluster_name=cluster.cluster_name, version=cluster.version, role_arn=role.arn,
              subnet_ids=subnets, architecture="amd64", disk_key=key.arn, tags={"owner": "us"})
general = NodePool("general", NodePoolArgs(
    compute="cpu", instance_types=TYPES, spot=True, disk_gib=50,
    min_nodes=MIN, initial_nodes=MIN, max_nodes=MAX, current=pools.get("general"),
    taints=[Taint(key="dedicated", value="x", effect="PreferNoSchedule")], labels={"a": "b"},
    **common), nodes)
gpu = NodePool("accelerated", NodePoolArgs(
    compute="gpu", instance_types=["g5.xlarge"], spot=False, disk_gib=100,
    min_nodes=0, initial_nodes=0, max_nodes=3, current=pools.get("accelerated"), **common), nodes)
ClusterAddons("after-nodes", ClusterAddonsArgs(names=AFTER_NODES, **addons),
              pulumi.ResourceOptions(depends_on=[general]))
PodRole("reader", PodRoleArgs(
    account=ACCOUNT, cluster_name=cluster.cluster_name, cluster_arn=cluster.arn,
    namespace="kube-system", service_account="reader",
    managed_policies=["AmazonEC2ContainerRegistryPullOnly"],
))
pulumi.export("group", general.autoscaling_group)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program], aws: Emulation) -> Program:
    """Deploy a cluster. `test_stacks` covers the deletion, which takes a minute."""
    aws.create_role("platform")
    program = new_program("cluster").write(_PROGRAM)
    program.up()
    return program


@pytest.fixture
def eks(aws: Emulation) -> Any:
    return aws.client("eks")


def _pools(eks: Any) -> dict[str, dict[str, Any]]:
    names = eks.list_nodegroups(clusterName="berth-test")["nodegroups"]
    pools = [
        eks.describe_nodegroup(clusterName="berth-test", nodegroupName=name)["nodegroup"]
        for name in names
    ]
    return {pool["nodegroupName"].rpartition("-")[0]: pool for pool in pools}


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_cluster_is_private_encrypted_and_logged(program: Program, eks: Any) -> None:
    found = eks.describe_cluster(name="berth-test")["cluster"]
    network = found["resourcesVpcConfig"]
    assert (network["endpointPrivateAccess"], network["endpointPublicAccess"]) == (True, False)
    (encryption,) = found["encryptionConfig"]
    assert encryption["resources"] == ["secrets"]
    (logging,) = (entry for entry in found["logging"]["clusterLogging"] if entry["enabled"])
    assert len(logging["types"]) == 5


def test_access_entry_grants_role_its_level(program: Program, eks: Any) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/platform"
    assert role in eks.list_access_entries(clusterName="berth-test")["accessEntries"]
    (policy,) = eks.list_associated_access_policies(clusterName="berth-test", principalArn=role)[
        "associatedAccessPolicies"
    ]
    assert policy["policyArn"].endswith("/AmazonEKSClusterAdminPolicy")


def test_launch_templates_require_imdsv2_and_encrypted_disks(
    program: Program, aws: Emulation
) -> None:
    versions = aws.client("ec2").describe_launch_template_versions(Versions=["$Latest"])
    templates = [
        version["LaunchTemplateData"]
        for version in versions["LaunchTemplateVersions"]
        if version["LaunchTemplateName"].startswith("berth-test-")
    ]
    assert len(templates) == 2
    for template in templates:
        metadata = template["MetadataOptions"]
        assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
        disks = [mapping["Ebs"] for mapping in template["BlockDeviceMappings"]]
        assert all(disk["Encrypted"] in (True, "true") and disk["KmsKeyId"] for disk in disks)
        for marked in template["TagSpecifications"]:
            assert {"Key": "owner", "Value": "us"} in marked["Tags"]


def test_gpu_pool_scales_from_zero_and_is_tainted(program: Program, eks: Any) -> None:
    pools = _pools(eks)
    gpu = pools["accelerated"]
    assert gpu["amiType"] == "BOTTLEROCKET_x86_64_NVIDIA"
    assert gpu["scalingConfig"]["minSize"] == 0
    assert gpu["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert pools["general"]["amiType"] == "BOTTLEROCKET_x86_64"
    assert pools["general"]["capacityType"] == "SPOT"


def test_addons_are_pinned_and_enforce_network_policies(program: Program, eks: Any) -> None:
    assert _addon_versions(eks) == {
        name: version
        for name, version in get_addon_versions("1.35").items()
        if name in (*BEFORE_NODES, *AFTER_NODES)
    }
    cni = eks.describe_addon(clusterName="berth-test", addonName="vpc-cni")["addon"]
    assert json.loads(cni["configurationValues"])["enableNetworkPolicy"] == "true"


def _addon_versions(eks: Any) -> dict[str, str]:
    return {
        name: eks.describe_addon(clusterName="berth-test", addonName=name)["addon"]["addonVersion"]
        for name in eks.list_addons(clusterName="berth-test")["addons"]
    }


def test_pod_role_trusts_only_pods_of_this_cluster(program: Program, aws: Emulation) -> None:
    (role,) = (
        found
        for found in aws.client("iam").list_roles()["Roles"]
        if found["RoleName"].startswith("reader")
    )
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"].endswith("cluster/berth-test")


def _scale(eks: Any, nodes: int) -> None:
    """Change the number of nodes, as the autoscaler does, without Pulumi's knowledge."""
    name = _pools(eks)["general"]["nodegroupName"]
    scaling = {"minSize": 1, "maxSize": 3, "desiredSize": nodes}
    eks.update_nodegroup_config(clusterName="berth-test", nodegroupName=name, scalingConfig=scaling)


@pytest.mark.runs_last
def test_scaled_cluster_is_resized_upgraded_and_moved_to_other_instances(
    program: Program, eks: Any, aws: Emulation
) -> None:
    """One test, because a cluster's version cannot go back."""
    _change_bounds_while_the_autoscaler_has_scaled(program, eks)
    _upgrade_cluster_then_daemons_then_nodes_then_other_addons(program, eks, aws)
    _change_instance_types_with_the_new_group_first(program, eks)


def _change_bounds_while_the_autoscaler_has_scaled(program: Program, eks: Any) -> None:
    """Pulumi's state still has the initial node count, 1."""
    _scale(eks, 2)
    assert program.changes() == {}
    program.write(_PROGRAM.replace("MIN, MAX, TYPES = 1, 3", "MIN, MAX, TYPES = 1, 5")).up()
    scaling = _pools(eks)["general"]["scalingConfig"]
    assert (scaling["maxSize"], scaling["desiredSize"]) == (5, 2)
    program.write(_PROGRAM.replace("MIN, MAX, TYPES = 1, 3", "MIN, MAX, TYPES = 4, 5")).up()
    scaling = _pools(eks)["general"]["scalingConfig"]
    assert (scaling["minSize"], scaling["desiredSize"]) == (4, 4)
    assert program.changes() == {}


def _upgrade_cluster_then_daemons_then_nodes_then_other_addons(
    program: Program, eks: Any, aws: Emulation
) -> None:
    before = len(aws.eks_changes())
    upgraded = _PROGRAM.replace('VERSION = "1.35"', 'VERSION = "1.36"')
    changes = program.write(upgraded).changes()
    assert {change.split(" ")[0] for change in changes.values()} == {"update"}, changes
    program.up()
    paths = [path.split("/", 1)[1] for path, _ in aws.eks_changes()[before:]]
    order = {path: number for number, path in reversed(list(enumerate(paths)))}
    nodes = [number for path, number in order.items() if path.endswith("/update-version")]
    assert order["updates"] < order["addons/kube-proxy/update"] < min(nodes)
    general = next(n for path, n in order.items() if path.startswith("node-groups/general-"))
    assert general < order["addons/metrics-server/update"]
    assert _addon_versions(eks)["kube-proxy"] == get_addon_versions("1.36")["kube-proxy"]
    assert {pool["version"] for pool in _pools(eks).values()} == {"1.36"}
    assert program.changes() == {}


def _change_instance_types_with_the_new_group_first(program: Program, eks: Any) -> None:
    """The new group starts with the node count of the old one, so that the Pods find room."""
    upgraded = _PROGRAM.replace('VERSION = "1.35"', 'VERSION = "1.36"')
    old = _pools(eks)["general"]
    count = old["scalingConfig"]["desiredSize"]
    replaced = upgraded.replace('["m7i.large"]', '["m6i.large"]').replace(
        "MIN, MAX, TYPES = 1, 3", "MIN, MAX, TYPES = 1, 5"
    )
    changes = program.write(replaced).changes()
    (step,) = (change for urn, change in changes.items() if urn.endswith("NodeGroup::general"))
    assert step.startswith("create-replacement") or "replace" in step
    program.up()
    new = _pools(eks)["general"]
    assert new["nodegroupName"] != old["nodegroupName"]
    assert new["instanceTypes"] == ["m6i.large"]
    assert new["scalingConfig"]["desiredSize"] == count
