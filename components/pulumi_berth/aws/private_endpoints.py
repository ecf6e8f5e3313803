"""PrivateEndpoints: ways from a VPC to AWS's services that never leave AWS's network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ec2


@dataclass(frozen=True, kw_only=True)
class PrivateEndpointsArgs:
    """Which services, and from where.

    Attributes:
        region: of the VPC.
        account: number of the account.
        vpc_id: of the VPC.
        cidr: its addresses, all of which may ask.
        subnet_ids: where the services get an address each, one per zone; each costs per hour.
        route_table_ids: of the subnets from which S3 is reached, which costs nothing.
        services: such as `ecr.api`; names after `com.amazonaws.<region>.`
            (https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html).
    """

    region: str
    account: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    cidr: str
    subnet_ids: Sequence[pulumi.Input[str]]
    route_table_ids: Sequence[pulumi.Input[str]]
    services: Sequence[str]


class PrivateEndpoints(pulumi.ComponentResource):
    """S3 through the route tables, other services through an address in each subnet. With `ecr.api`
    and `ecr.dkr` images are pulled without NAT: their layers come from S3."""

    def __init__(
        self, name: str, args: PrivateEndpointsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:PrivateEndpoints", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)

        def service(of: str) -> str:
            return f"com.amazonaws.{args.region}.{of}"

        def named(of: str) -> dict[str, str]:
            return {"Name": f"berth-{pulumi.get_stack()}-{name}-{of}"}

        ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=args.vpc_id,
            service_name=service("s3"),
            vpc_endpoint_type="Gateway",
            route_table_ids=args.route_table_ids,
            policy=pulumi.Output.from_input(args.account).apply(
                lambda account: _own_buckets(account, args.region)
            ),
            tags=named("s3"),
            opts=inside,
        )
        if args.services:
            door = ec2.SecurityGroup(
                f"{name}-endpoints",
                description="HTTPS from the VPC to AWS services",
                vpc_id=args.vpc_id,
                ingress=[_https_from(args.cidr)],
                tags=named("endpoints"),
                opts=inside,
            )
            for of in args.services:
                ec2.VpcEndpoint(
                    f"{name}-{of.replace('.', '-')}",
                    vpc_id=args.vpc_id,
                    service_name=service(of),
                    vpc_endpoint_type="Interface",
                    private_dns_enabled=True,
                    subnet_ids=args.subnet_ids,
                    security_group_ids=[door.id],
                    tags=named(of),
                    opts=inside,
                )
        self.register_outputs({})


def _https_from(cidr: str) -> ec2.SecurityGroupIngressArgs:
    return ec2.SecurityGroupIngressArgs(
        description="HTTPS from the VPC",
        protocol="tcp",
        from_port=443,
        to_port=443,
        cidr_blocks=[cidr],
    )


def _own_buckets(account: str, region: str) -> str:
    """This account's principals, and the layers of images, which ECR hands out by signed address:
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html"""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:PrincipalAccount": account}},
                },
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "s3:GetObject",
                    "Resource": f"arn:aws:s3:::prod-{region}-starport-layer-bucket/*",
                },
            ],
        }
    )
