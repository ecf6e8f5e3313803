"""The network of a deleted cluster: what `destroy` removes, what it waits for, what it names."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from pulumi_berth.aws import cluster_leftovers
from pulumi_berth.aws.cluster_leftovers import LeftoverError, clear_network
from pulumi_berth.aws_identity import AwsIdentity
from tests.aws import strict_rules

_REGION, _CLUSTER = "eu-central-1", "berth-dev"
_STACK_TAGS = [{"Key": "berth:stack", "Value": "dev"}]


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """EC2 of an empty account of an in-process emulator."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster_leftovers, "get_identity", AwsIdentity)
    with mock_aws():
        yield boto3.client("ec2", _REGION)


@pytest.fixture
def inputs(ec2: Any) -> dict[str, Any]:
    """A VPC with a subnet, in which the cluster was."""
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/18")["Subnet"]["SubnetId"]
    return {
        "region": _REGION, "vpc_id": vpc, "subnet_ids": [subnet], "cluster_name": _CLUSTER,
        "stack_name": "dev", "wait_seconds": 0,
    }  # fmt: skip


def _create_interface(ec2: Any, inputs: dict[str, Any], text: str, tags: dict[str, str]) -> str:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    created = ec2.create_network_interface(
        SubnetId=inputs["subnet_ids"][0], Description=text,
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": listed}],
    )  # fmt: skip
    return str(created["NetworkInterface"]["NetworkInterfaceId"])


def _leak(ec2: Any, inputs: dict[str, Any]) -> str:
    leaked = strict_rules.describe_leaked_interface(_CLUSTER, "i-0123456789abcdef0")
    return _create_interface(ec2, inputs, *leaked)


def _create_group(ec2: Any, inputs: dict[str, Any]) -> str:
    group = ec2.create_security_group(
        GroupName=f"eks-cluster-sg-{_CLUSTER}-1", Description="EKS", VpcId=inputs["vpc_id"],
        TagSpecifications=[{
            "ResourceType": "security-group",
            "Tags": [{"Key": "aws:eks:cluster-name", "Value": _CLUSTER}],
        }],
    )  # fmt: skip
    return str(group["GroupId"])


def test_interfaces_and_group_of_the_cluster_are_deleted(ec2: Any, inputs: dict[str, Any]) -> None:
    expected = [_leak(ec2, inputs), _create_group(ec2, inputs)]
    assert clear_network(inputs) == expected
    assert clear_network(inputs) == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_nothing_is_deleted_while_the_cluster_exists(ec2: Any, inputs: dict[str, Any]) -> None:
    """Its plugin creates an interface before it attaches it."""
    leaked = _leak(ec2, inputs)
    eks = boto3.client("eks", _REGION)
    role = "arn:aws:iam::123456789012:role/cluster"
    eks.create_cluster(name=_CLUSTER, roleArn=role, resourcesVpcConfig={})
    assert clear_network(inputs) == []
    eks.delete_cluster(name=_CLUSTER)
    assert clear_network(inputs) == [leaked]


def test_interface_of_another_owner_is_named_and_stays(ec2: Any, inputs: dict[str, Any]) -> None:
    other = _create_interface(ec2, inputs, "ELB net/team/1", {})
    leaked = _leak(ec2, inputs)
    with pytest.raises(LeftoverError) as caught:
        clear_network(inputs)
    assert f"{other} (ELB net/team/1, available, {inputs['subnet_ids'][0]})" in str(caught.value)
    assert leaked not in str(caught.value)
    (left,) = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert left["NetworkInterfaceId"] == other
    ec2.delete_network_interface(NetworkInterfaceId=other)
    assert clear_network(inputs) == []


def test_interface_that_aws_removes_is_waited_for(
    ec2: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _create_interface(ec2, inputs, "Amazon EKS berth-dev", {})

    def sleep(_: float) -> None:
        ec2.delete_network_interface(NetworkInterfaceId=other)

    monkeypatch.setattr("pulumi_berth.aws.cluster_leftovers.time.sleep", sleep)
    assert clear_network(inputs | {"wait_seconds": 60}) == []


def test_what_pulumi_deletes_at_the_same_time_does_not_block(
    ec2: Any, inputs: dict[str, Any]
) -> None:
    ec2.create_vpc_endpoint(
        VpcId=inputs["vpc_id"], ServiceName=f"com.amazonaws.{_REGION}.ecr.api",
        VpcEndpointType="Interface", SubnetIds=inputs["subnet_ids"],
        TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": _STACK_TAGS}],
    )  # fmt: skip
    elb = boto3.client("elbv2", _REGION)
    created = elb.create_load_balancer(
        Name="balancer", Type="network", Scheme="internal", Subnets=inputs["subnet_ids"],
        Tags=_STACK_TAGS,
    )  # fmt: skip
    arn = created["LoadBalancers"][0]["LoadBalancerArn"]
    _create_interface(ec2, inputs, f"ELB {arn.partition(':loadbalancer/')[2]}", {})
    assert clear_network(inputs) == []


def test_endpoint_of_another_owner_blocks(ec2: Any, inputs: dict[str, Any]) -> None:
    """GuardDuty creates one by itself: github.com/hashicorp/terraform-provider-aws/issues/46747."""
    ec2.create_vpc_endpoint(
        VpcId=inputs["vpc_id"], ServiceName=f"com.amazonaws.{_REGION}.guardduty-data",
        VpcEndpointType="Interface", SubnetIds=inputs["subnet_ids"],
    )  # fmt: skip
    with pytest.raises(LeftoverError, match="belong to nothing of stack 'dev'"):
        clear_network(inputs)
