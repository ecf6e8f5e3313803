"""RegionHealth: whether a region answers, as Route 53 takes it into account."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudwatch, route53


@dataclass(frozen=True, kw_only=True)
class RegionHealthArgs:
    """What is looked at: CloudWatch's names of a network load balancer and of what is behind it.

    Attributes:
        region: that they are in.
        load_balancer, target_group: see `InternalBalancer`.
    """

    region: str
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]


class RegionHealth(pulumi.ComponentResource):
    """A health check that fails while nothing behind the balancer is healthy.

    By an alarm and not by a request: Route 53's own requests have neither the edge's secret nor a
    key, and the firewall lets none of them through.

    Attributes:
        check_id: of the health check.
    """

    check_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: RegionHealthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:RegionHealth", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        nobody = cloudwatch.MetricAlarm(
            name,
            alarm_description="No node behind the balancer answers",
            namespace="AWS/NetworkELB",
            metric_name="HealthyHostCount",
            dimensions={
                "LoadBalancer": args.load_balancer,
                "TargetGroup": args.target_group,
            },
            # In the zone with the most: one zone that is lost is no region that is lost.
            statistic="Maximum",
            period=60,
            evaluation_periods=2,
            threshold=1,
            comparison_operator="LessThanThreshold",
            treat_missing_data="breaching",
            opts=inside,
        )
        check = route53.HealthCheck(
            name,
            type="CLOUDWATCH_METRIC",
            cloudwatch_alarm_name=nobody.name,
            cloudwatch_alarm_region=args.region,
            insufficient_data_health_status="LastKnownStatus",
            opts=inside,
        )
        self.check_id = check.id
        self.register_outputs({"check_id": self.check_id})
