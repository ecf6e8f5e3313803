"""What a deleted cluster leaves in its network: up, down, and up again."""

from collections.abc import Callable
from typing import Any

from tests.aws import strict_rules
from tests.aws.emulation import Emulation
from tests.aws.program import Program

_CLUSTER = "berth-gone"
_PROGRAM = f"""
import pulumi
from pulumi_aws import ec2
from pulumi_berth.aws.cluster_leftovers import ClusterLeftovers

vpc = ec2.Vpc("network", cidr_block="10.20.0.0/16")
subnet = ec2.Subnet(
    "network", vpc_id=vpc.id, cidr_block="10.20.0.0/18",
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete="5s")))
ClusterLeftovers(
    "leftovers", region="us-east-1", vpc_id=vpc.id, subnet_ids=[subnet.id],
    cluster_name="{_CLUSTER}", stack_name="gone", wait_seconds=1)
pulumi.export("vpc", vpc.id)
pulumi.export("subnet", subnet.id)
"""


def _create_interface(
    ec2: Any, subnet: str, group: str, description: str, tags: dict[str, str]
) -> str:
    created = ec2.create_network_interface(
        SubnetId=subnet, Groups=[group], Description=description,
        TagSpecifications=[{
            "ResourceType": "network-interface",
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }],
    )  # fmt: skip
    return str(created["NetworkInterface"]["NetworkInterfaceId"])


def _find(ec2: Any, vpc: str) -> tuple[set[str], set[str]]:
    """Return the interfaces of a VPC, and its groups except the default."""
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    interfaces = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    groups = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    return (
        {one["NetworkInterfaceId"] for one in interfaces},
        {one["GroupId"] for one in groups if one["GroupName"] != "default"},
    )


def test_destroy_removes_what_the_cluster_left_and_names_the_rest(
    new_program: Callable[[str], Program], aws: Emulation
) -> None:
    program = new_program("leftovers").write(_PROGRAM)
    program.up()
    assert program.changes() == {}
    ec2, eks, outputs = aws.client("ec2"), aws.client("eks"), program.outputs()
    vpc, subnet = outputs["vpc"], outputs["subnet"]
    eks.create_cluster(
        name=_CLUSTER, version="1.35", roleArn=aws.create_role("cluster"),
        resourcesVpcConfig={"subnetIds": [subnet]},
    )  # fmt: skip
    (group,) = _find(ec2, vpc)[1]
    leaked = strict_rules.describe_leaked_interface(_CLUSTER, "i-0123456789abcdef0")
    of_cluster = _create_interface(ec2, subnet, group, *leaked)
    own_group = ec2.create_security_group(GroupName="team", Description="team", VpcId=vpc)
    other = _create_interface(ec2, subnet, own_group["GroupId"], "ELB net/team/1", {"team": "a"})
    eks.delete_cluster(name=_CLUSTER)
    assert _find(ec2, vpc) == ({of_cluster, other}, {group, own_group["GroupId"]})

    failed = program.pulumi("destroy", "--yes", "--skip-preview", "--stack", "test", code=1)
    assert f"{other} (ELB net/team/1, available, {subnet})" in failed.stdout + failed.stderr
    assert "then run 'berth destroy' again" in failed.stdout + failed.stderr
    assert _find(ec2, vpc)[0] == {other}

    ec2.delete_network_interface(NetworkInterfaceId=other)
    ec2.delete_security_group(GroupId=own_group["GroupId"])
    program.destroy()
    assert _find(ec2, vpc) == (set(), set())
    program.up()
    program.destroy()
