"""InternalLoadBalancer: the load balancer between API Gateway and the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import autoscaling, ec2, lb

from pulumi_berth.component_args import parse_args

_PORT = 80


@dataclass(frozen=True, kw_only=True)
class InternalLoadBalancerArgs:
    """Arguments for `InternalLoadBalancer`.

    Attributes:
        vpc_id: ID of the VPC.
        subnet_ids: IDs of private subnets, one per zone.
        node_security_group_id: Security group of the nodes, which admits the load balancer.
        node_port: Port of the in-cluster gateway on every node.
        health_path: Path to which a healthy gateway responds with 200 without an API key.
        autoscaling_groups: Auto Scaling groups of the nodes, by name of the node pool.
        protect: Prevent AWS from deleting the load balancer.
    """

    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    node_security_group_id: pulumi.Input[str]
    node_port: int
    health_path: str
    autoscaling_groups: Mapping[str, pulumi.Input[str]]
    protect: bool | None = False


class InternalLoadBalancer(pulumi.ComponentResource):
    """A network load balancer without a public address, in front of the nodes of every pool.

    Pulumi creates it, not a controller in the cluster: API Gateway's VPC link needs it before the
    cluster runs anything, and it is deleted with the stack.

    Attributes:
        arn: ARN of the load balancer.
        dns_name: Host name of the load balancer.
        metric_name: Value of CloudWatch's dimension `LoadBalancer`.
        target_metric_name: Value of CloudWatch's dimension `TargetGroup`.
    """

    arn: pulumi.Output[str]
    dns_name: pulumi.Output[str]
    metric_name: pulumi.Output[str]
    target_metric_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: InternalLoadBalancerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:InternalLoadBalancer", name, None, opts)
        args = parse_args(InternalLoadBalancerArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        # No inbound rules: traffic of a VPC link is not checked against them.
        security_group = ec2.SecurityGroup(
            name,
            description="From API Gateway's VPC link to the nodes",
            vpc_id=args.vpc_id,
            egress=[
                ec2.SecurityGroupEgressArgs(
                    description="The in-cluster gateway",
                    protocol="tcp",
                    from_port=args.node_port,
                    to_port=args.node_port,
                    security_groups=[args.node_security_group_id],
                )
            ],
            opts=child_opts,
        )
        # A separate rule: security groups whose inline rules name each other cannot be created
        # or deleted.
        ec2.SecurityGroupRule(
            f"{name}-nodes",
            type="ingress",
            description="The in-cluster gateway, from its balancer",
            security_group_id=args.node_security_group_id,
            source_security_group_id=security_group.id,
            protocol="tcp",
            from_port=args.node_port,
            to_port=args.node_port,
            opts=child_opts,
        )
        balancer = lb.LoadBalancer(
            name,
            load_balancer_type="network",
            internal=True,
            subnets=args.subnet_ids,
            security_groups=[security_group.id],
            # Otherwise requests over a VPC link would not pass.
            # https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-nlb-for-vpclink-using-console.html
            enforce_security_group_inbound_rules_on_private_link_traffic="off",
            enable_cross_zone_load_balancing=True,
            enable_deletion_protection=args.protect,
            opts=child_opts,
        )
        nodes = lb.TargetGroup(
            name,
            protocol="TCP",
            port=args.node_port,
            target_type="instance",
            vpc_id=args.vpc_id,
            # Let a node finish its requests: API Gateway waits at most 29 seconds for a response.
            deregistration_delay=30,
            health_check=lb.TargetGroupHealthCheckArgs(
                protocol="HTTP", path=args.health_path, matcher="200", interval=10, timeout=5
            ),
            opts=child_opts,
        )
        lb.Listener(
            name,
            load_balancer_arn=balancer.arn,
            port=_PORT,
            protocol="TCP",
            default_actions=[
                lb.ListenerDefaultActionArgs(type="forward", target_group_arn=nodes.arn)
            ],
            opts=child_opts,
        )
        for pool, group in args.autoscaling_groups.items():
            autoscaling.Attachment(
                f"{name}-{pool}",
                autoscaling_group_name=group,
                lb_target_group_arn=nodes.arn,
                opts=child_opts,
            )
        self.arn = balancer.arn
        self.dns_name = balancer.dns_name
        self.metric_name = balancer.arn_suffix
        self.target_metric_name = nodes.arn_suffix
        self.register_outputs(
            {
                "arn": self.arn,
                "dns_name": self.dns_name,
                "metric_name": self.metric_name,
                "target_metric_name": self.target_metric_name,
            }
        )
