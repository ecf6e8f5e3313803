"""Network: the VPC that everything of a stack lies in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_aws import ec2, iam

from pulumi_berth.aws.assume_role import assumed_by
from pulumi_berth.aws.log_group import LogSettings, log_group
from pulumi_berth.aws.private_endpoints import PrivateEndpoints, PrivateEndpointsArgs
from pulumi_berth.aws.subnet_plan import ZoneSubnets, subnet_plan

_ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What a network is like.

    Attributes:
        region: of the stack, such as `eu-central-1`.
        account: number of the account.
        cidr: addresses of the VPC, /16 or smaller; see `subnet_plan`.
        zones: names of the availability zones, 1 to 7.
        nat: one way out for all zones, or one in each: each has its price per hour, and a single
            one is lost with its zone.
        interface_endpoints: AWS services that are reached inside AWS's network, such as `ecr.api`.
        flow_log: how the log of connections is kept.
    """

    region: str
    account: pulumi.Input[str]
    cidr: str
    zones: list[str]
    nat: Literal["single", "per_zone"]
    interface_endpoints: Sequence[str]
    flow_log: LogSettings


class Network(pulumi.ComponentResource):
    """A private and a public subnet per zone: nodes in the private ones, their way out through NAT
    in the public ones, and the way to AWS's own services inside AWS's network.

    Attributes:
        vpc_id: of the VPC.
        private_subnet_ids: one per zone, known once their ways out are there.
        public_subnet_ids: one per zone.
    """

    vpc_id: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    public_subnet_ids: pulumi.Output[list[str]]

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Network", name, None, opts)
        self._name = name
        self._inside = pulumi.ResourceOptions(parent=self)
        plan = subnet_plan(args.cidr, args.zones)
        self._vpc = ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": self._full(name)},
            opts=self._inside,
        )
        # Every VPC has one that lets its members reach each other; without rules it lets nothing.
        ec2.DefaultSecurityGroup(name, vpc_id=self._vpc.id, opts=self._inside)
        self._log_connections(args)
        public = self._public(plan)
        private, tables = self._private(plan, self._ways_out(plan, public, args.nat))
        PrivateEndpoints(
            name,
            PrivateEndpointsArgs(
                region=args.region,
                account=args.account,
                vpc_id=self._vpc.id,
                cidr=args.cidr,
                subnet_ids=[subnet.id for subnet in private],
                route_table_ids=[table.id for table in tables],
                services=args.interface_endpoints,
            ),
            self._inside,
        )
        self.vpc_id = self._vpc.id
        self.public_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in public))
        self.private_subnet_ids = pulumi.Output.all(
            *(subnet.id for subnet in private), *(made.id for made in self._associations)
        ).apply(lambda ids: ids[: len(plan)])
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "privateSubnetIds": self.private_subnet_ids,
                "publicSubnetIds": self.public_subnet_ids,
            }
        )

    def _public(self, plan: list[ZoneSubnets]) -> list[ec2.Subnet]:
        """Subnets with a way to the internet of their own; nothing in them gets an address there
        without asking for one."""
        internet = ec2.InternetGateway(
            self._name,
            vpc_id=self._vpc.id,
            tags={"Name": self._full(self._name)},
            opts=self._inside,
        )
        table = self._table(
            "public", ec2.RouteTableRouteArgs(cidr_block=_ANYWHERE, gateway_id=internet.id)
        )
        self._associations: list[ec2.RouteTableAssociation] = []
        return [
            self._subnet(f"public-{zone.zone[-1]}", zone.zone, zone.public, "elb", table)
            for zone in plan
        ]

    def _ways_out(
        self, plan: list[ZoneSubnets], public: list[ec2.Subnet], nat: str
    ) -> list[ec2.NatGateway]:
        return [
            self._nat(zone, subnet)
            for zone, subnet in list(zip(plan, public, strict=True))[: 1 if nat == "single" else 7]
        ]

    def _nat(self, zone: ZoneSubnets, subnet: ec2.Subnet) -> ec2.NatGateway:
        name = f"{self._name}-nat-{zone.zone[-1]}"
        tags = {"Name": self._full(name)}
        address = ec2.Eip(name, domain="vpc", tags=tags, opts=self._inside)
        return ec2.NatGateway(
            name,
            allocation_id=address.id,
            subnet_id=subnet.id,
            tags=tags,
            opts=pulumi.ResourceOptions.merge(
                self._inside, pulumi.ResourceOptions(depends_on=self._associations)
            ),
        )

    def _private(
        self, plan: list[ZoneSubnets], ways_out: list[ec2.NatGateway]
    ) -> tuple[list[ec2.Subnet], list[ec2.RouteTable]]:
        subnets, tables = [], []
        for index, zone in enumerate(plan):
            name = f"private-{zone.zone[-1]}"
            way_out = ways_out[index % len(ways_out)]
            table = self._table(
                name, ec2.RouteTableRouteArgs(cidr_block=_ANYWHERE, nat_gateway_id=way_out.id)
            )
            subnets.append(self._subnet(name, zone.zone, zone.private, "internal-elb", table))
            tables.append(table)
        return subnets, tables

    def _subnet(
        self, name: str, zone: str, cidr: str, balancers: str, table: ec2.RouteTable
    ) -> ec2.Subnet:
        """A subnet, its routes, and the tag by which EKS puts load balancers in it:
        https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html"""
        name = f"{self._name}-{name}"
        subnet = ec2.Subnet(
            name,
            vpc_id=self._vpc.id,
            availability_zone=zone,
            cidr_block=cidr,
            map_public_ip_on_launch=False,
            tags={"Name": self._full(name), f"kubernetes.io/role/{balancers}": "1"},
            opts=self._inside,
        )
        self._associations.append(
            ec2.RouteTableAssociation(
                name, subnet_id=subnet.id, route_table_id=table.id, opts=self._inside
            )
        )
        return subnet

    def _table(self, name: str, route: ec2.RouteTableRouteArgs) -> ec2.RouteTable:
        name = f"{self._name}-{name}"
        return ec2.RouteTable(
            name,
            vpc_id=self._vpc.id,
            routes=[route],
            tags={"Name": self._full(name)},
            opts=self._inside,
        )

    def _log_connections(self, args: NetworkArgs) -> None:
        """Every accepted and refused connection; the role writes to this one log alone."""
        name = f"{self._name}-flow"
        group = log_group(name, args.flow_log, self._inside)
        source = pulumi.Output.from_input(args.account).apply(
            lambda account: assumed_by(
                "vpc-flow-logs.amazonaws.com", {"StringEquals": {"aws:SourceAccount": account}}
            )
        )
        role = iam.Role(name, assume_role_policy=source, opts=self._inside)
        iam.RolePolicy(name, role=role.id, policy=group.arn.apply(_writes_to), opts=self._inside)
        ec2.FlowLog(
            name,
            vpc_id=self._vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags={"Name": self._full(name)},
            opts=self._inside,
        )

    def _full(self, name: str) -> str:
        """What people see in AWS's console, among those of other stacks."""
        return f"berth-{pulumi.get_stack()}-{name}"


def _writes_to(group: str) -> str:
    streams = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
        "Resource": [group, f"{group}:*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [streams]})
