"""Observability: dashboards and alarms of a stack."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi_aws import cloudwatch

from pulumi_berth.aws.access_log_plan import AccessLogFields, MetricFilter, access_log_filters
from pulumi_berth.aws.alarm_plan import Alarm, AlarmThresholds, model_alarms, stack_alarms
from pulumi_berth.aws.dashboard_plan import model_dashboard, stack_dashboard
from pulumi_berth.aws.scan_alarm import ScanAlarm, ScanAlarmArgs
from pulumi_berth.aws.watched import (
    Metric,
    WatchedApi,
    WatchedBalancer,
    WatchedCluster,
    WatchedModel,
    WatchedStack,
)

_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ObservabilityArgs:
    """What is watched, and who is told.

    Attributes:
        region: of the stack.
        topic_arn: that alarms go to (`AlarmTopic`).
        models: that are hosted, at most 25 (`access_log_plan`).
        api_name, api_stage: of API Gateway's REST API.
        access_log: name of the log group of the API's access log, JSON lines.
        access_log_fields: what their members are called.
        load_balancer, target_group: what CloudWatch calls the balancer and the nodes behind it
            (`InternalBalancer.metric_name`, `.target_metric_name`).
        cluster_name: of the EKS cluster.
        namespace: that the berths are in.
        repositories: names of the ECR repositories whose findings are told.
        thresholds: from when on a state is an alarm.
        dashboards: whether there are dashboards.
    """

    region: str
    topic_arn: pulumi.Input[str]
    models: Sequence[WatchedModel]
    api_name: pulumi.Input[str]
    api_stage: pulumi.Input[str]
    access_log: pulumi.Input[str]
    access_log_fields: AccessLogFields = field(default_factory=AccessLogFields)
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    namespace: str
    repositories: Sequence[pulumi.Input[str]]
    thresholds: AlarmThresholds
    dashboards: bool = True


class Observability(pulumi.ComponentResource):
    """What is counted in the access log, the alarms of each model and of what they share, and a
    dashboard for each model and for the stack.

    Attributes:
        dashboards: names of the dashboards.
        alarms: ARNs of the alarms.
    """

    dashboards: list[str]
    alarms: pulumi.Output[list[str]]

    def __init__(
        self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Observability", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        watched = _watched(args)
        models = [model.name for model in args.models]
        for planned in access_log_filters(watched.stack, models, args.access_log_fields):
            _filter(name, planned, args.access_log, inside)
        alarms = [
            *stack_alarms(watched, args.thresholds),
            *(
                alarm
                for model in args.models
                for alarm in model_alarms(watched, model, args.thresholds)
            ),
        ]
        made = [_alarm(name, alarm, watched.stack, args.topic_arn, inside) for alarm in alarms]
        if args.repositories:
            ScanAlarm(
                f"{name}-scans",
                ScanAlarmArgs(repositories=args.repositories, topic_arn=args.topic_arn),
                inside,
            )
        self.dashboards = _dashboards(name, args, watched, inside) if args.dashboards else []
        self.alarms = pulumi.Output.all(*(alarm.arn for alarm in made))
        self.register_outputs({"dashboards": self.dashboards, "alarms": self.alarms})


def _watched(args: ObservabilityArgs) -> WatchedStack:
    return WatchedStack(
        stack=pulumi.get_stack(),
        api=WatchedApi(name=args.api_name, stage=args.api_stage),
        balancer=WatchedBalancer(load_balancer=args.load_balancer, target_group=args.target_group),
        cluster=WatchedCluster(name=args.cluster_name, namespace=args.namespace),
    )


def _filter(
    name: str, planned: MetricFilter, log: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> None:
    cloudwatch.LogMetricFilter(
        f"{name}-{planned.model}-{planned.metric.lower()}",
        log_group_name=log,
        pattern=planned.pattern,
        metric_transformation=cloudwatch.LogMetricFilterMetricTransformationArgs(
            name=planned.metric,
            namespace=planned.namespace,
            value=planned.value,
            default_value=planned.default,
            unit=planned.unit,
        ),
        opts=opts,
    )


def _alarm(
    name: str,
    planned: Alarm,
    stack: str,
    topic: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> cloudwatch.MetricAlarm:
    return cloudwatch.MetricAlarm(
        f"{name}-{planned.name}",
        alarm_description=f"{planned.says}, in each of {planned.minutes} minutes (stack {stack})",
        comparison_operator="GreaterThanThreshold",
        threshold=planned.above,
        evaluation_periods=planned.minutes,
        datapoints_to_alarm=planned.minutes,
        treat_missing_data="notBreaching",
        metric_queries=_queries(planned),
        alarm_actions=[topic],
        ok_actions=[topic],
        opts=opts,
    )


def _queries(planned: Alarm) -> list[cloudwatch.MetricAlarmMetricQueryArgs]:
    judged = [*planned.metrics, *planned.steps][-1]
    looked_at = [
        cloudwatch.MetricAlarmMetricQueryArgs(
            id=known, metric=_metric(metric), return_data=known == judged
        )
        for known, metric in planned.metrics.items()
    ]
    calculated = [
        cloudwatch.MetricAlarmMetricQueryArgs(
            id=step, expression=expression, label=step, return_data=step == judged
        )
        for step, expression in planned.steps.items()
    ]
    return [*looked_at, *calculated]


def _metric(metric: Metric) -> cloudwatch.MetricAlarmMetricQueryMetricArgs:
    return cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace=metric.namespace,
        metric_name=metric.name,
        dimensions=metric.dimensions or None,
        period=_SECONDS,
        stat=metric.stat,
    )


def _dashboards(
    name: str, args: ObservabilityArgs, watched: WatchedStack, opts: pulumi.ResourceOptions
) -> list[str]:
    bodies = {
        "stack": stack_dashboard(watched, args.thresholds, args.region),
        **{
            f"model-{model.name}": model_dashboard(watched, model, args.thresholds, args.region)
            for model in args.models
        },
    }
    # AWS makes no names for dashboards; one of the same name would be written over.
    names = {what: f"berth-{watched.stack}-{what}" for what in bodies}
    for what, body in bodies.items():
        cloudwatch.Dashboard(
            f"{name}-{what}",
            dashboard_name=names[what],
            dashboard_body=pulumi.Output.json_dumps(body),
            opts=opts,
        )
    return list(names.values())
