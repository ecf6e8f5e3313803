"""VpcEndpoints: routes from a VPC to AWS services that stay in AWS's network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ec2

from pulumi_berth.component_args import parse_args

# It only exchanges tokens of the account's own clusters. AWS does not document that it accepts a
# policy, and an endpoint with a policy that it does not accept cannot be created.
_WITHOUT_POLICY = ("eks-auth",)


@dataclass(frozen=True, kw_only=True)
class VpcEndpointsArgs:
    """Arguments for `VpcEndpoints`.

    Attributes:
        stack_name: Name of the stack. It is part of the `Name` tags.
        region: Region of the VPC.
        account: Account ID.
        vpc_id: ID of the VPC.
        cidr: Address range of the VPC. Every address in it can use the endpoints.
        subnet_ids: Subnets of the interface endpoints, one per zone. Each is billed per hour.
        route_table_ids: Route tables for the S3 gateway endpoint, which is free.
        services: Services with an interface endpoint, such as `ecr.api`: the part of their name
            after `com.amazonaws.<region>.`
            (https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html).
    """

    stack_name: str
    region: str
    account: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    cidr: str
    subnet_ids: Sequence[pulumi.Input[str]]
    route_table_ids: Sequence[pulumi.Input[str]]
    services: Sequence[str]


class VpcEndpoints(pulumi.ComponentResource):
    """A gateway endpoint for S3, and interface endpoints for other services.

    With `ecr.api` and `ecr.dkr`, nodes pull images of private ECR registries without NAT: ECR
    stores layers in S3. Layers of other registries that are in S3 (Docker Hub, registry.k8s.io and
    public.ecr.aws) are refused: copy such images to ECR (`CopiedImage`).

    Credentials of other accounts are refused, so that a Pod cannot send data to one of them.
    """

    def __init__(
        self, name: str, args: VpcEndpointsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:VpcEndpoints", name, None, opts)
        args = parse_args(VpcEndpointsArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)

        def service_name(service: str) -> str:
            return f"com.amazonaws.{args.region}.{service}"

        def name_tag(part: str) -> dict[str, str]:
            return {"Name": f"berth-{args.stack_name}-{name}-{part}"}

        ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=args.vpc_id,
            service_name=service_name("s3"),
            vpc_endpoint_type="Gateway",
            route_table_ids=args.route_table_ids,
            policy=pulumi.Output.from_input(args.account).apply(
                lambda account: _s3_policy(account, args.region)
            ),
            tags=name_tag("s3"),
            opts=child_opts,
        )
        if args.services:
            security_group = ec2.SecurityGroup(
                f"{name}-endpoints",
                description="HTTPS from the VPC to AWS services",
                vpc_id=args.vpc_id,
                ingress=[_https_from(args.cidr)],
                tags=name_tag("endpoints"),
                opts=child_opts,
            )
            for service in args.services:
                ec2.VpcEndpoint(
                    f"{name}-{service.replace('.', '-')}",
                    vpc_id=args.vpc_id,
                    service_name=service_name(service),
                    vpc_endpoint_type="Interface",
                    private_dns_enabled=True,
                    subnet_ids=args.subnet_ids,
                    security_group_ids=[security_group.id],
                    policy=None
                    if service in _WITHOUT_POLICY
                    else pulumi.Output.from_input(args.account).apply(_interface_policy),
                    tags=name_tag(service),
                    opts=child_opts,
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


def _interface_policy(account: str) -> str:
    """Return a policy for this account's principals only.

    What they may do is decided by their own policies: images of EKS add-ons, for example, are in
    repositories of AWS. Programs with an identity of the cluster's OpenID provider exchange it
    without credentials, for roles of this account.
    """
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "*",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:PrincipalAccount": account}},
                },
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:ResourceAccount": account}},
                },
            ],
        }
    )


def _s3_policy(account: str, region: str) -> str:
    """Return a policy for this account's principals in its own buckets, and for layers of ECR.

    Credentials of this account reach no bucket of another account, and credentials of another
    account reach no bucket at all, so that a Pod cannot copy data out through S3.

    ECR returns presigned URLs of a bucket of AWS for the layers of private images, those of EKS
    add-ons and of Bottlerocket included:
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html
    """
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": "*",
                    "Condition": {
                        "StringEquals": {
                            "aws:PrincipalAccount": account,
                            "aws:ResourceAccount": account,
                        }
                    },
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
