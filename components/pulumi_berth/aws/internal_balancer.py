"""InternalBalancer: the way from API Gateway into the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import autoscaling, ec2, lb

_PORT = 80


@dataclass(frozen=True, kw_only=True)
class InternalBalancerArgs:
    """From where, and to what.

    Attributes:
        vpc_id: of the network.
        subnet_ids: private ones, one per zone.
        node_security_group_id: of the nodes, which the balancer is let into.
        node_port: that the in-cluster gateway has on every node.
        health_path: that a healthy gateway answers with 200, without a key.
        autoscaling_groups: name of a pool -> name of its group of instances.
        protect: whether AWS refuses to delete it.
    """

    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    node_security_group_id: pulumi.Input[str]
    node_port: int
    health_path: str
    autoscaling_groups: Mapping[str, pulumi.Input[str]]
    protect: bool = False


class InternalBalancer(pulumi.ComponentResource):
    """A network load balancer without a public address, in front of the nodes of every pool.

    Declared here rather than by a controller in the cluster: API Gateway's VPC link needs it
    before anything runs there, and it goes when the stack goes.

    Attributes:
        arn: of the balancer.
        dns_name: by which the network finds it.
        metric_name: how CloudWatch calls it (dimension `LoadBalancer`).
        target_metric_name: how CloudWatch calls the nodes behind it (dimension `TargetGroup`).
    """

    arn: pulumi.Output[str]
    dns_name: pulumi.Output[str]
    metric_name: pulumi.Output[str]
    target_metric_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: InternalBalancerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:InternalBalancer", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        # Nothing comes in but what a VPC link brings, which is not held against inbound rules.
        door = ec2.SecurityGroup(
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
            opts=inside,
        )
        # A rule of its own, not one of the group's: two groups that name each other in their own
        # rules can neither be made nor deleted.
        ec2.SecurityGroupRule(
            f"{name}-nodes",
            type="ingress",
            description="The in-cluster gateway, from its balancer",
            security_group_id=args.node_security_group_id,
            source_security_group_id=door.id,
            protocol="tcp",
            from_port=args.node_port,
            to_port=args.node_port,
            opts=inside,
        )
        balancer = lb.LoadBalancer(
            name,
            load_balancer_type="network",
            internal=True,
            subnets=args.subnet_ids,
            security_groups=[door.id],
            # Requests over a VPC link do not pass it otherwise.
            # https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-nlb-for-vpclink-using-console.html
            enforce_security_group_inbound_rules_on_private_link_traffic="off",
            enable_cross_zone_load_balancing=True,
            enable_deletion_protection=args.protect,
            opts=inside,
        )
        nodes = lb.TargetGroup(
            name,
            protocol="TCP",
            port=args.node_port,
            target_type="instance",
            vpc_id=args.vpc_id,
            # A node that leaves finishes what it has: as long as API Gateway waits for an answer.
            deregistration_delay=30,
            health_check=lb.TargetGroupHealthCheckArgs(
                protocol="HTTP", path=args.health_path, matcher="200", interval=10, timeout=5
            ),
            opts=inside,
        )
        lb.Listener(
            name,
            load_balancer_arn=balancer.arn,
            port=_PORT,
            protocol="TCP",
            default_actions=[
                lb.ListenerDefaultActionArgs(type="forward", target_group_arn=nodes.arn)
            ],
            opts=inside,
        )
        for pool, group in args.autoscaling_groups.items():
            autoscaling.Attachment(
                f"{name}-{pool}",
                autoscaling_group_name=group,
                lb_target_group_arn=nodes.arn,
                opts=inside,
            )
        self.arn = balancer.arn
        self.dns_name = balancer.dns_name
        self.metric_name = balancer.arn_suffix
        self.target_metric_name = nodes.arn_suffix
        self.register_outputs({"arn": self.arn, "dnsName": self.dns_name})
