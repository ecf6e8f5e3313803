"""Network: the VPC that contains every resource of a stack."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import ec2, iam

from pulumi_berth.aws.iam_policies import service_trust_policy
from pulumi_berth.aws.logs import LogSettings, create_log_group
from pulumi_berth.aws.subnet_plan import ZoneSubnets, subnet_plan
from pulumi_berth.aws.vpc_endpoints import VpcEndpoints, VpcEndpointsArgs
from pulumi_berth.component_args import parse_args
from pulumi_berth.values import default_to

_ANY_ADDRESS = "0.0.0.0/0"


class NatMode(StrEnum):
    """The number of NAT gateways: one, or one in each zone."""

    SINGLE = "single"
    PER_ZONE = "per_zone"


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Arguments for `Network`."""

    stack_name: str
    """Name of the stack. It is part of the `Name` tags."""
    region: str
    """Region of the VPC, such as `eu-central-1`."""
    account: pulumi.Input[str]
    """Account ID."""
    cidr: str
    """Address range of the VPC, /16 or smaller, such as `10.20.0.0/16`."""
    zones: Sequence[str]
    """Names of 1 to 7 Availability Zones, such as `eu-central-1a`."""
    flow_log: LogSettings
    """Settings of the flow log."""
    nat: NatMode | None = None
    """`single` for one NAT gateway, or `per_zone` for one in each zone. Each is billed per hour. A
    single gateway fails with its zone. Defaults to `single`."""
    interface_endpoints: Sequence[str] | None = None
    """AWS services to reach without leaving AWS's network, such as `ecr.api`. Defaults to none."""


class Network(pulumi.ComponentResource):
    """A VPC with a private and a public subnet in each zone, and a flow log.

    Nodes are in the private subnets. They reach the internet through NAT gateways in the public
    subnets, and AWS services through VPC endpoints.
    """

    vpc_id: pulumi.Output[str]
    """ID of the VPC."""
    private_subnet_ids: pulumi.Output[list[str]]
    """One ID per zone. Known after the subnets have their routes."""
    public_subnet_ids: pulumi.Output[list[str]]
    """One ID per zone."""

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Network", name, None, opts)
        args = parse_args(NetworkArgs, args)
        self._name = name
        self._stack_name = args.stack_name
        self._child_opts = pulumi.ResourceOptions(parent=self)
        plan = subnet_plan(args.cidr, list(args.zones))
        self._vpc = ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": self._full_name(name)},
            opts=self._child_opts,
        )
        # Every VPC has a default group whose members reach each other. Remove its rules.
        ec2.DefaultSecurityGroup(name, vpc_id=self._vpc.id, opts=self._child_opts)
        self._create_flow_log(args)
        self._associations: list[ec2.RouteTableAssociation] = []
        public = self._create_public_subnets(plan)
        nat_gateways = self._create_nat_gateways(plan, public, default_to(args.nat, NatMode.SINGLE))
        private, tables = self._create_private_subnets(plan, nat_gateways)
        VpcEndpoints(
            name,
            VpcEndpointsArgs(
                stack_name=args.stack_name,
                region=args.region,
                account=args.account,
                vpc_id=self._vpc.id,
                cidr=args.cidr,
                subnet_ids=[subnet.id for subnet in private],
                route_table_ids=[table.id for table in tables],
                services=list(args.interface_endpoints or ()),
            ),
            self._child_opts,
        )
        self.vpc_id = self._vpc.id
        self.public_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in public))
        self.private_subnet_ids = pulumi.Output.all(
            *(subnet.id for subnet in private), *(route.id for route in self._associations)
        ).apply(lambda ids: ids[: len(plan)])
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "private_subnet_ids": self.private_subnet_ids,
                "public_subnet_ids": self.public_subnet_ids,
            }
        )

    def _create_public_subnets(self, plan: list[ZoneSubnets]) -> list[ec2.Subnet]:
        """Create subnets with a route to the internet, without public addresses by default."""
        internet = ec2.InternetGateway(
            self._name,
            vpc_id=self._vpc.id,
            tags={"Name": self._full_name(self._name)},
            opts=self._child_opts,
        )
        table = self._create_route_table(
            "public", ec2.RouteTableRouteArgs(cidr_block=_ANY_ADDRESS, gateway_id=internet.id)
        )
        return [
            self._create_subnet(f"public-{zone.zone[-1]}", zone.zone, zone.public, "elb", table)
            for zone in plan
        ]

    def _create_nat_gateways(
        self, plan: list[ZoneSubnets], public: list[ec2.Subnet], nat: NatMode
    ) -> list[ec2.NatGateway]:
        return [
            self._create_nat_gateway(zone, subnet)
            for zone, subnet in list(zip(plan, public, strict=True))[
                : 1 if nat == NatMode.SINGLE else 7
            ]
        ]

    def _create_nat_gateway(self, zone: ZoneSubnets, subnet: ec2.Subnet) -> ec2.NatGateway:
        name = f"{self._name}-nat-{zone.zone[-1]}"
        tags = {"Name": self._full_name(name)}
        address = ec2.Eip(name, domain="vpc", tags=tags, opts=self._child_opts)
        return ec2.NatGateway(
            name,
            allocation_id=address.id,
            subnet_id=subnet.id,
            tags=tags,
            opts=pulumi.ResourceOptions.merge(
                self._child_opts, pulumi.ResourceOptions(depends_on=self._associations)
            ),
        )

    def _create_private_subnets(
        self, plan: list[ZoneSubnets], nat_gateways: list[ec2.NatGateway]
    ) -> tuple[list[ec2.Subnet], list[ec2.RouteTable]]:
        subnets, tables = [], []
        for index, zone in enumerate(plan):
            name = f"private-{zone.zone[-1]}"
            nat = nat_gateways[index % len(nat_gateways)]
            table = self._create_route_table(
                name, ec2.RouteTableRouteArgs(cidr_block=_ANY_ADDRESS, nat_gateway_id=nat.id)
            )
            subnets.append(
                self._create_subnet(name, zone.zone, zone.private, "internal-elb", table)
            )
            tables.append(table)
        return subnets, tables

    def _create_subnet(
        self, name: str, zone: str, cidr: str, load_balancers: str, table: ec2.RouteTable
    ) -> ec2.Subnet:
        """Create a subnet, its routes, and the tag that lets EKS place load balancers in it.

        https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
        """
        name = f"{self._name}-{name}"
        subnet = ec2.Subnet(
            name,
            vpc_id=self._vpc.id,
            availability_zone=zone,
            cidr_block=cidr,
            map_public_ip_on_launch=False,
            tags={"Name": self._full_name(name), f"kubernetes.io/role/{load_balancers}": "1"},
            opts=self._child_opts,
        )
        self._associations.append(
            ec2.RouteTableAssociation(
                name, subnet_id=subnet.id, route_table_id=table.id, opts=self._child_opts
            )
        )
        return subnet

    def _create_route_table(self, name: str, route: ec2.RouteTableRouteArgs) -> ec2.RouteTable:
        name = f"{self._name}-{name}"
        return ec2.RouteTable(
            name,
            vpc_id=self._vpc.id,
            routes=[route],
            tags={"Name": self._full_name(name)},
            opts=self._child_opts,
        )

    def _create_flow_log(self, args: NetworkArgs) -> None:
        """Log every accepted and rejected connection. The role can write only to this log."""
        name = f"{self._name}-flow"
        group = create_log_group(name, args.flow_log, self._child_opts)
        trust = pulumi.Output.from_input(args.account).apply(
            lambda account: service_trust_policy(
                "vpc-flow-logs.amazonaws.com", {"StringEquals": {"aws:SourceAccount": account}}
            )
        )
        role = iam.Role(name, assume_role_policy=trust, opts=self._child_opts)
        iam.RolePolicy(
            name, role=role.id, policy=group.arn.apply(_write_policy), opts=self._child_opts
        )
        ec2.FlowLog(
            name,
            vpc_id=self._vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags={"Name": self._full_name(name)},
            opts=self._child_opts,
        )

    def _full_name(self, name: str) -> str:
        """Return a name that is unique among all stacks in the AWS console."""
        return f"berth-{self._stack_name}-{name}"


def _write_policy(group: str) -> str:
    streams = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
        "Resource": [group, f"{group}:*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [streams]})
