"""Observability: the alarms and dashboards of a stack."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudwatch

from pulumi_berth.aws.access_log_plan import AccessLogFields, MetricFilter, access_log_filters
from pulumi_berth.aws.alarm_plan import Alarm, AlarmThresholds, model_alarms, stack_alarms
from pulumi_berth.aws.alarm_topic import ScanAlarm, ScanAlarmArgs
from pulumi_berth.aws.dashboard_plan import model_dashboard, stack_dashboard
from pulumi_berth.aws.metrics import (
    Metric,
    MonitoredApi,
    MonitoredBalancer,
    MonitoredCluster,
    MonitoredModel,
    MonitoredStack,
)
from pulumi_berth.component_args import parse_args

_PERIOD_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ObservabilityArgs:
    """Arguments for `Observability`.

    Attributes:
        stack_name: Name of the stack. It is part of the names of metrics and dashboards.
        region: Region of the stack.
        topic_arn: ARN of the topic that receives alarms (`AlarmTopic`).
        models: Hosted models, at most 25 (`access_log_plan.MAX_MODELS`).
        api_name: Name of API Gateway's REST API.
        api_stage: Name of its stage.
        access_log: Name of the log group with the API's access log, JSON lines.
        access_log_fields: Names of the members of each line.
        load_balancer: CloudWatch's name of the load balancer (`InternalLoadBalancer.metric_name`).
        target_group: CloudWatch's name of its target group.
        cluster_name: Name of the EKS cluster.
        namespace: Namespace of the berths.
        repositories: Names of the ECR repositories whose scan findings are sent to the topic.
        thresholds: Limits at which alarms fire.
        dashboards: Create dashboards.
    """

    stack_name: str
    region: str
    topic_arn: pulumi.Input[str]
    models: Sequence[MonitoredModel]
    api_name: pulumi.Input[str]
    api_stage: pulumi.Input[str]
    access_log: pulumi.Input[str]
    access_log_fields: AccessLogFields | None = None
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    namespace: str
    repositories: Sequence[pulumi.Input[str]]
    thresholds: AlarmThresholds
    dashboards: bool | None = True


class Observability(pulumi.ComponentResource):
    """Metric filters for the access log, and alarms and a dashboard for each model and the stack.

    Attributes:
        dashboards: Names of the dashboards.
        alarms: ARNs of the alarms.
    """

    dashboards: list[str]
    alarms: pulumi.Output[list[str]]

    def __init__(
        self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Observability", name, None, opts)
        args = parse_args(ObservabilityArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        stack = _monitored_stack(args)
        models = [model.name for model in args.models]
        fields = args.access_log_fields or AccessLogFields()
        for planned in access_log_filters(stack.stack, models, fields):
            _create_filter(name, planned, args.access_log, child_opts)
        plan = [
            *stack_alarms(stack, args.thresholds),
            *(
                alarm
                for model in args.models
                for alarm in model_alarms(stack, model, args.thresholds)
            ),
        ]
        alarms = [
            _create_alarm(name, alarm, stack.stack, args.topic_arn, child_opts) for alarm in plan
        ]
        if args.repositories:
            ScanAlarm(
                f"{name}-scans",
                ScanAlarmArgs(repositories=args.repositories, topic_arn=args.topic_arn),
                child_opts,
            )
        self.dashboards = (
            _create_dashboards(name, args, stack, child_opts)
            if args.dashboards is not False
            else []
        )
        self.alarms = pulumi.Output.all(*(alarm.arn for alarm in alarms))
        self.register_outputs({"dashboards": self.dashboards, "alarms": self.alarms})


def _monitored_stack(args: ObservabilityArgs) -> MonitoredStack:
    return MonitoredStack(
        stack=args.stack_name,
        api=MonitoredApi(name=args.api_name, stage=args.api_stage),
        balancer=MonitoredBalancer(
            load_balancer=args.load_balancer, target_group=args.target_group
        ),
        cluster=MonitoredCluster(name=args.cluster_name, namespace=args.namespace),
    )


def _create_filter(
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


def _create_alarm(
    name: str,
    planned: Alarm,
    stack: str,
    topic: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> cloudwatch.MetricAlarm:
    return cloudwatch.MetricAlarm(
        f"{name}-{planned.name}",
        alarm_description=(
            f"{planned.description}, in each of {planned.minutes} minutes (stack {stack})"
        ),
        comparison_operator="GreaterThanThreshold",
        threshold=planned.threshold,
        evaluation_periods=planned.minutes,
        datapoints_to_alarm=planned.minutes,
        treat_missing_data="notBreaching",
        metric_queries=_queries(planned),
        alarm_actions=[topic],
        ok_actions=[topic],
        opts=opts,
    )


def _queries(planned: Alarm) -> list[cloudwatch.MetricAlarmMetricQueryArgs]:
    result = [*planned.metrics, *planned.expressions][-1]
    metrics = [
        cloudwatch.MetricAlarmMetricQueryArgs(
            id=metric_id, metric=_metric(metric), return_data=metric_id == result
        )
        for metric_id, metric in planned.metrics.items()
    ]
    expressions = [
        cloudwatch.MetricAlarmMetricQueryArgs(
            id=query_id, expression=expression, label=query_id, return_data=query_id == result
        )
        for query_id, expression in planned.expressions.items()
    ]
    return [*metrics, *expressions]


def _metric(metric: Metric) -> cloudwatch.MetricAlarmMetricQueryMetricArgs:
    return cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace=metric.namespace,
        metric_name=metric.name,
        dimensions=metric.dimensions or None,
        period=_PERIOD_SECONDS,
        stat=metric.stat,
    )


def _create_dashboards(
    name: str, args: ObservabilityArgs, stack: MonitoredStack, opts: pulumi.ResourceOptions
) -> list[str]:
    bodies = {
        "stack": stack_dashboard(stack, args.thresholds, args.region),
        **{
            f"model-{model.name}": model_dashboard(stack, model, args.thresholds, args.region)
            for model in args.models
        },
    }
    # AWS generates no dashboard names, and a dashboard overwrites another of the same name.
    names = {subject: f"berth-{stack.stack}-{subject}" for subject in bodies}
    for subject, body in bodies.items():
        cloudwatch.Dashboard(
            f"{name}-{subject}",
            dashboard_name=names[subject],
            dashboard_body=pulumi.Output.json_dumps(body),
            opts=opts,
        )
    return list(names.values())
