"""The component `Network` in a program without other components of a stack."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.emulation import REGION, Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs, allow_service
from pulumi_berth.aws.logs import LogSettings
from pulumi_berth.aws.network import Network, NetworkArgs

key = EncryptionKey("logs", EncryptionKeyArgs(
    stack_name="test",
    purpose="Logs", account="123456789012",
    statements=[allow_service("logs.us-east-1.amazonaws.com")],
    deletion_window_days=7,
))
network = Network("network", NetworkArgs(
    stack_name="test",
    region="us-east-1", account="123456789012", cidr="10.20.0.0/16",
    zones=["us-east-1a", "us-east-1b", "us-east-1c"], nat="NAT",
    interface_endpoints=["ecr.api", "ecr.dkr"],
    flow_log=LogSettings(path_prefix="/berth/test", days=14, key=key.arn),
))
pulumi.export("vpc", network.vpc_id)
pulumi.export("private", network.private_subnet_ids)
pulumi.export("public", network.public_subnet_ids)
"""


@pytest.fixture(scope="module")
def single_nat(new_program: Callable[[str], Program]) -> tuple[Program, int, dict[str, str]]:
    """Deploy the network with a single NAT gateway.

    Returns:
        The program, the number of NAT gateways, and the changes of a second preview. The fixture
        records both, because `program` then deploys a gateway in each zone.
    """
    program = new_program("network").write(_PROGRAM.replace("NAT", "single"))
    program.up()
    return program, len(_nat_gateways(program)), program.changes()


@pytest.fixture(scope="module")
def program(single_nat: tuple[Program, int, dict[str, str]]) -> Program:
    """Return the network after an update from one NAT gateway to one in each zone.

    `test_stacks.test_destroy_leaves_no_resources` covers the deletion of networks. It takes half a
    minute for each NAT gateway, and the emulator ends with the tests.
    """
    program, _, _ = single_nat
    program.write(_PROGRAM.replace("NAT", "per_zone"))
    program.up()
    return program


def _nat_gateways(program: Program) -> list[dict[str, Any]]:
    gateways = program.aws.client("ec2").describe_nat_gateways(Filters=_of(program))
    return [nat for nat in gateways["NatGateways"] if nat["State"] == "available"]


def _of(program: Program) -> list[dict[str, Any]]:
    return [{"Name": "vpc-id", "Values": [program.outputs()["vpc"]]}]


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_private_subnets_use_nat_gateway_of_their_zone(program: Program, aws: Emulation) -> None:
    ec2 = aws.client("ec2")
    outputs = program.outputs()
    zone_of = {
        subnet["SubnetId"]: subnet["AvailabilityZone"]
        for subnet in ec2.describe_subnets(Filters=_of(program))["Subnets"]
    }
    nat_zone = {nat["NatGatewayId"]: zone_of[nat["SubnetId"]] for nat in _nat_gateways(program)}
    ways = {
        association["SubnetId"]: route.get("NatGatewayId") or route.get("GatewayId")
        for table in ec2.describe_route_tables(Filters=_of(program))["RouteTables"]
        for association in table["Associations"]
        if "SubnetId" in association
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    }
    assert len(outputs["private"]) == len(outputs["public"]) == 3
    for subnet in outputs["private"]:
        assert nat_zone[ways[subnet]] == zone_of[subnet]
    for subnet in outputs["public"]:
        assert ways[subnet].startswith("igw-")


def _group_name(log: dict[str, Any]) -> str:
    name: str = log["LogDestination"].split(":log-group:")[1]
    return name


def test_default_security_group_has_no_rules(program: Program, aws: Emulation) -> None:
    (group,) = (
        found
        for found in aws.client("ec2").describe_security_groups(Filters=_of(program))[
            "SecurityGroups"
        ]
        if found["GroupName"] == "default"
    )
    assert group["IpPermissions"] == []
    assert group["IpPermissionsEgress"] == []


def test_vpc_endpoints_cover_configured_services(program: Program, aws: Emulation) -> None:
    found = {
        endpoint["ServiceName"]: endpoint
        for endpoint in aws.client("ec2").describe_vpc_endpoints(Filters=_of(program))[
            "VpcEndpoints"
        ]
    }
    ours = {f"com.amazonaws.{REGION}.{name}" for name in ("s3", "ecr.api", "ecr.dkr")}
    assert set(found) == ours
    assert len(found[f"com.amazonaws.{REGION}.s3"]["RouteTableIds"]) == 3
    assert len(found[f"com.amazonaws.{REGION}.ecr.api"]["SubnetIds"]) == 3


def test_flow_log_is_encrypted_and_expires(program: Program, aws: Emulation) -> None:
    (log,) = aws.client("ec2").describe_flow_logs(
        Filters=[{"Name": "resource-id", "Values": [program.outputs()["vpc"]]}]
    )["FlowLogs"]
    assert log["TrafficType"] == "ALL"
    (group,) = aws.client("logs").describe_log_groups(logGroupNamePrefix=_group_name(log))[
        "logGroups"
    ]
    assert group["retentionInDays"] == 14
    key = aws.client("kms").get_key_rotation_status(KeyId=group["kmsKeyId"])
    assert key["KeyRotationEnabled"]


def test_single_nat_creates_one_gateway(
    single_nat: tuple[Program, int, dict[str, str]],
) -> None:
    _, gateways, changes = single_nat
    assert gateways == 1
    assert changes == {}


def test_update_to_nat_per_zone_creates_a_gateway_in_each_zone(program: Program) -> None:
    assert len(_nat_gateways(program)) == 3
