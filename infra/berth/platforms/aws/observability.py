"""What watches an aws stack: logs, alarms, dashboards, budget."""

from collections.abc import Sequence

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.eks import cluster_name
from berth.platforms.aws.foundation import Keys, Nodes
from berth.spec import HostingSpec
from pulumi_berth.aws.alarm_plan import AlarmThresholds
from pulumi_berth.aws.alarm_topic import AlarmTopic, AlarmTopicArgs
from pulumi_berth.aws.api_gateway import ApiGateway
from pulumi_berth.aws.cost import Cost, CostArgs
from pulumi_berth.aws.internal_balancer import InternalBalancer
from pulumi_berth.aws.observability import Observability, ObservabilityArgs
from pulumi_berth.aws.watched import WatchedModel

# CloudWatch Logs has 100 metric filters for a log group, and a model takes four
# (components/aws/access_log_plan.py).
_WATCHED_MODELS = 25


def watch(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    nodes: Nodes,
    balancer: InternalBalancer,
    api: ApiGateway,
    repositories: Sequence[pulumi.Input[str]],
) -> None:
    """Topic -> alarms and dashboards -> budget."""
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
            region=account.region,
            topic_arn=topic.arn,
            models=_models(spec),
            api_name=api.api_name,
            api_stage=api.stage,
            access_log=api.access_log,
            load_balancer=balancer.metric_name,
            target_group=balancer.target_metric_name,
            cluster_name=cluster_name(pulumi.get_stack()),
            namespace=spec.kubernetes.namespace,
            repositories=repositories,
            thresholds=AlarmThresholds(**spec.observability.alarms.model_dump()),
            dashboards=spec.observability.dashboards,
        ),
        # The cluster's own metrics are there once it is.
        pulumi.ResourceOptions.merge(
            account.options(), pulumi.ResourceOptions(depends_on=[nodes.cluster])
        ),
    )
    if spec.budget is not None:
        Cost(
            "budget",
            CostArgs(
                monthly_usd=spec.budget.monthly_usd,
                alert_percents=list(spec.budget.alert_percents),
                emails=list(spec.budget.notify),
            ),
            account.options(),
        )


def _models(spec: HostingSpec) -> list[WatchedModel]:
    exposed = [name for name, model in spec.models.items() if model.exposed_versions]
    beyond = exposed[_WATCHED_MODELS:]
    if beyond:
        pulumi.log.warn(
            f"alarms and dashboards are made for {_WATCHED_MODELS} models, as many as CloudWatch "
            f"counts in one log; none for {', '.join(beyond)}"
        )
    return [
        WatchedModel(
            name=name,
            versions=list(spec.models[name].versions),
            compute=spec.models[name].compute,
            queue=spec.models[name].serving.queue * spec.models[name].serving.workers,
        )
        for name in exposed[:_WATCHED_MODELS]
    ]
