"""ClusterLeftovers: removes what a deleted EKS cluster leaves in its subnets.

The VPC CNI creates network interfaces for Pods. If a node ends between the creation of one and its
attachment, the interface stays (https://github.com/aws/amazon-vpc-cni-k8s/issues/608). EKS then
also leaves the cluster's security group (https://github.com/aws/aws-k8s-tester/pull/416). AWS does
not delete a subnet with an interface, or a VPC with a group, and the AWS provider removes neither:
it tries again for 20 minutes and fails.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.aws_identity import STACK_TAG, get_identity
from pulumi_berth.providers import ClusterLeftoversProvider
from pulumi_berth.values import join_first

COMPARED = ("region", "vpc_id", "cluster_name", "stack_name")
"""Inputs that identify the cluster and its network."""
_WAIT_SECONDS = 600
_POLL_SECONDS = 5.0
# What creates interfaces for a cluster, as it tags them:
# https://github.com/aws/amazon-vpc-cni-k8s/pull/2854
_OWNER_TAG = "eks:eni:owner"
_OWNERS = ("amazon-vpc-cni", "eks-vpc-resource-controller")
_CNI_DESCRIPTION = "aws-K8S-"
_GROUP_TAG = "aws:eks:cluster-name"
_MAX_NAMED = 10
_Tagged = Mapping[str, Any]
_IsOwn = Callable[[_Tagged], bool]


class LeftoverError(RuntimeError):
    """Something in the subnets of a deleted cluster prevents their deletion."""


class ClusterLeftovers(Resource, module="berth", name="ClusterLeftovers"):
    """Nothing while the cluster exists. Its deletion clears the subnets of what the cluster left.

    The subnets must exist before it, and the cluster after it: Pulumi then deletes the cluster
    first, this resource next, and the subnets last.
    """

    def __init__(
        self,
        name: str,
        *,
        region: pulumi.Input[str],
        vpc_id: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[str]],
        cluster_name: str,
        stack_name: str,
        wait_seconds: int = _WAIT_SECONDS,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Record the cluster and its network.

        Args:
            subnet_ids: All subnets of the VPC. They are deleted after this resource.
            stack_name: Value of the tag `berth:stack` on what belongs to the stack.
            wait_seconds: Time limit for interfaces that AWS removes by itself, such as those of a
                load balancer.
        """
        inputs = {
            "region": region,
            "vpc_id": vpc_id,
            "subnet_ids": subnet_ids,
            "cluster_name": cluster_name,
            "stack_name": stack_name,
            "wait_seconds": wait_seconds,
        }
        super().__init__(ClusterLeftoversProvider(), name, inputs, opts)


def is_left_by_cluster(interface: _Tagged, cluster_name: str) -> bool:
    """Return whether a cluster's network plugin created the interface and no instance has it.

    Args:
        interface: The interface as EC2 describes it.
    """
    tags = read_tags(interface.get("TagSet", ()))
    is_of_cluster = (
        tags.get(f"kubernetes.io/cluster/{cluster_name}") == "owned"
        or tags.get("cluster.k8s.amazonaws.com/name") == cluster_name
    )
    is_of_plugin = tags.get(_OWNER_TAG) in _OWNERS or str(
        interface.get("Description", "")
    ).startswith(_CNI_DESCRIPTION)
    return interface["Status"] == "available" and is_of_cluster and is_of_plugin


def is_group_of_cluster(group: _Tagged, cluster_name: str) -> bool:
    """Return whether EKS created the security group for the cluster.

    https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html
    """
    has_name = str(group["GroupName"]).startswith(f"eks-cluster-sg-{cluster_name}-")
    return has_name and read_tags(group.get("Tags", ())).get(_GROUP_TAG) == cluster_name


def read_tags(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return a list of tags, as AWS describes it, by key."""
    return {tag["Key"]: tag["Value"] for tag in tags}


def describe_blockers(interfaces: Sequence[_Tagged]) -> str:
    """Return the interfaces with what tells their owner, such as a load balancer's name."""
    lines = [
        f"{one['NetworkInterfaceId']} ({one.get('Description') or 'no description'}, "
        f"{one['Status']}, {one['SubnetId']})"
        for one in interfaces
    ]
    return join_first(lines, _MAX_NAMED)


def clear_network(inputs: Mapping[str, Any]) -> list[str]:
    """Delete what the cluster left, and wait until nothing else is in the subnets.

    While the cluster exists, nothing is deleted: its plugin creates interfaces before it attaches
    them.

    Returns:
        The IDs of what was deleted.

    Raises:
        LeftoverError: If interfaces that are not the cluster's remain, or AWS rejects a request.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return list(_clear(inputs))
    except (BotoCoreError, ClientError) as error:
        raise LeftoverError(
            f"Could not remove what cluster {inputs['cluster_name']} left in {inputs['vpc_id']}: "
            f"{error}. Run 'berth destroy' again. It needs the permissions "
            "ec2:DescribeNetworkInterfaces, ec2:DeleteNetworkInterface, ec2:DescribeSecurityGroups "
            "and ec2:DeleteSecurityGroup."
        ) from error


def _clear(inputs: Mapping[str, Any]) -> Iterator[str]:
    region, vpc, cluster = inputs["region"], inputs["vpc_id"], inputs["cluster_name"]
    seconds = int(inputs["wait_seconds"])
    ec2 = get_identity().create_client("ec2", region=region)
    if _has_cluster(region, cluster):
        return
    deadline = time.monotonic() + seconds
    while True:
        found = _list_interfaces(ec2, vpc)
        left = [one for one in found if is_left_by_cluster(one, cluster)]
        for one in left:
            ec2.delete_network_interface(NetworkInterfaceId=one["NetworkInterfaceId"])
            yield one["NetworkInterfaceId"]
        own = _list_own_interfaces(ec2, region, inputs)
        blockers = [one for one in found if one not in left and not own(one)]
        if not blockers:
            break
        if time.monotonic() >= deadline:
            raise LeftoverError(
                f"Network interfaces in {vpc} prevent the deletion of its subnets. They belong to "
                f"nothing of stack '{inputs['stack_name']}', and AWS did not remove them within "
                f"{seconds} s: {describe_blockers(blockers)}. They were not changed. Delete what "
                "they belong to, then run 'berth destroy' again."
            )
        time.sleep(min(_POLL_SECONDS, seconds))
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    for page in ec2.get_paginator("describe_security_groups").paginate(Filters=filters):
        for group in page["SecurityGroups"]:
            if is_group_of_cluster(group, cluster):
                ec2.delete_security_group(GroupId=group["GroupId"])
                yield group["GroupId"]


def _has_cluster(region: str, name: str) -> bool:
    pages = get_identity().create_client("eks", region=region).get_paginator("list_clusters")
    return any(name in page["clusters"] for page in pages.paginate())


def _list_interfaces(ec2: Any, vpc: str) -> list[dict[str, Any]]:
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    pages = ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters)
    return [one for page in pages for one in page["NetworkInterfaces"]]


def _list_own_interfaces(ec2: Any, region: str, inputs: Mapping[str, Any]) -> _IsOwn:
    """Return a predicate for the interfaces of what Pulumi deletes at the same time.

    NAT gateways, endpoints and load balancers tell theirs by ID or by the interface's description.
    """
    tag = (STACK_TAG, inputs["stack_name"])
    in_vpc = {"Name": "vpc-id", "Values": [inputs["vpc_id"]]}
    ids: set[str] = set()
    for page in ec2.get_paginator("describe_nat_gateways").paginate(Filters=[in_vpc]):
        for gateway in page["NatGateways"]:
            if tag in read_tags(gateway.get("Tags", ())).items():
                addresses = gateway.get("NatGatewayAddresses", ())
                ids |= {one.get("NetworkInterfaceId", "") for one in addresses}
    for page in ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=[in_vpc]):
        for endpoint in page["VpcEndpoints"]:
            if tag in read_tags(endpoint.get("Tags", ())).items():
                ids |= set(endpoint.get("NetworkInterfaceIds", ()))
    balancers = set(_list_own_balancers(region, inputs["vpc_id"], tag))
    return lambda one: (
        one["NetworkInterfaceId"] in ids
        or str(one.get("Description", "")).removeprefix("ELB ") in balancers
    )


def _list_own_balancers(region: str, vpc: str, tag: tuple[str, str]) -> Iterator[str]:
    """Yield `net/name/id` of each load balancer of the stack, as in their interfaces."""
    elb = get_identity().create_client("elbv2", region=region)
    # The tags of at most 20 load balancers can be read at once:
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
    pages = elb.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 20})
    for page in pages:
        arns = [one["LoadBalancerArn"] for one in page["LoadBalancers"] if one["VpcId"] == vpc]
        if arns:
            for one in elb.describe_tags(ResourceArns=arns)["TagDescriptions"]:
                if tag in read_tags(one["Tags"]).items():
                    yield one["ResourceArn"].partition(":loadbalancer/")[2]
