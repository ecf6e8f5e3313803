"""Observability of an aws stack: alarms, dashboards, budget."""

from collections.abc import Sequence

import pulumi

from berth.platforms.aws.access import stack_prefix
from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.foundation import Keys, Nodes
from berth.spec import HostingSpec
from pulumi_berth.aws.access_log_plan import MAX_MODELS
from pulumi_berth.aws.alarm_plan import AlarmThresholds
from pulumi_berth.aws.alarm_topic import AlarmTopic, AlarmTopicArgs
from pulumi_berth.aws.api_gateway import ApiGateway
from pulumi_berth.aws.budget import BudgetScope, MonthlyBudget, MonthlyBudgetArgs
from pulumi_berth.aws.internal_load_balancer import InternalLoadBalancer
from pulumi_berth.aws.metrics import Compute, MonitoredModel
from pulumi_berth.aws.observability import Observability, ObservabilityArgs


def create_observability(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    nodes: Nodes,
    load_balancer: InternalLoadBalancer,
    api: ApiGateway,
    repositories: Sequence[pulumi.Input[str]],
) -> None:
    """Create the alarm topic, the alarms and dashboards, and the budget."""
    topic = AlarmTopic(
        "alarms",
        AlarmTopicArgs(
            account=account.number,
            region=account.region,
            key=keys.alerts.arn,
            emails=list(spec.observability.notify),
        ),
        account.options(),
    )
    Observability(
        "watch",
        ObservabilityArgs(
            stack_name=account.stack,
            region=account.region,
            topic_arn=topic.arn,
            models=_monitored_models(spec),
            api_name=api.api_name,
            api_stage=api.stage,
            access_log=api.access_log,
            load_balancer=load_balancer.metric_name,
            target_group=load_balancer.target_metric_name,
            cluster_name=stack_prefix(account.stack),
            namespace=spec.kubernetes.namespace,
            repositories=repositories,
            thresholds=AlarmThresholds(**spec.observability.alarms.model_dump()),
            dashboards=spec.observability.dashboards,
        ),
        # The metrics of the cluster do not exist before the cluster.
        pulumi.ResourceOptions.merge(
            account.options(), pulumi.ResourceOptions(depends_on=[nodes.cluster])
        ),
    )
    if spec.budget is not None:
        MonthlyBudget(
            "budget",
            MonthlyBudgetArgs(
                stack_name=account.stack,
                monthly_usd=spec.budget.monthly_usd,
                alert_percents=list(spec.budget.alert_percents),
                emails=list(spec.budget.notify),
                scope=BudgetScope(spec.budget.scope),
            ),
            account.options(),
        )


def _monitored_models(spec: HostingSpec) -> list[MonitoredModel]:
    exposed = [name for name, model in spec.models.items() if model.exposed_versions]
    unmonitored = exposed[MAX_MODELS:]
    if unmonitored:
        pulumi.log.warn(
            f"CloudWatch counts requests of at most {MAX_MODELS} models in one log group. These "
            f"models have no alarms and dashboards: {', '.join(unmonitored)}. Move them to another "
            "stack to monitor them."
        )
    return [
        MonitoredModel(
            name=name,
            versions=list(spec.models[name].versions),
            compute=Compute(spec.models[name].compute),
            queue=spec.models[name].serving.queue * spec.models[name].serving.workers,
        )
        for name in exposed[:MAX_MODELS]
    ]
