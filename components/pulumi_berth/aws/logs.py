"""CloudWatch log groups, and the role that lets API Gateway write logs."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudwatch

from pulumi_berth.aws.api_log_role import ApiLogRole
from pulumi_berth.component_args import parse_args

# The log groups of the add-on amazon-cloudwatch-observability. The agent settings name the last
# group `prometheus`: it receives the metrics that the agent scrapes from berths.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-EKS-logs.html
_CONTAINER_LOG_KINDS = ("application", "dataplane", "host", "performance", "prometheus")


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """Settings of a log group."""

    path_prefix: str
    """Prefix of the group's name, such as `/berth/dev`."""
    days: int
    """Retention in days. CloudWatch allows 1, 3, 5, 7, 14, 30, 60, 90 and higher values
    (https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html).
    """
    key: pulumi.Input[str]
    """ARN of the KMS key that encrypts the logs."""


def create_log_group(
    name: str, settings: LogSettings, opts: pulumi.ResourceOptions, *, path: str | None = None
) -> cloudwatch.LogGroup:
    """Create an encrypted log group with limited retention.

    Args:
        path: Name of the group where AWS prescribes it. Defaults to a generated name.
    """
    return cloudwatch.LogGroup(
        name,
        name=path,
        name_prefix=None if path else f"{settings.path_prefix}/{name}-",
        retention_in_days=settings.days,
        kms_key_id=settings.key,
        opts=opts,
    )


@dataclass(frozen=True, kw_only=True)
class ContainerLogsArgs:
    """Arguments for `ContainerLogs`.

    Attributes:
        cluster_name: Name of the EKS cluster. AWS derives the names of the groups from it.
        logs: Settings of the groups.
    """

    cluster_name: str
    logs: LogSettings


class ContainerLogs(pulumi.ComponentResource):
    """The log groups of Container Insights.

    They must exist before the add-on, which would otherwise create them unencrypted, without
    retention, and leave them behind.

    Attributes:
        application: Name of the group that receives the output of berths.
    """

    application: pulumi.Output[str]

    def __init__(
        self, name: str, args: ContainerLogsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ContainerLogs", name, None, opts)
        args = parse_args(ContainerLogsArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        groups = {
            kind: create_log_group(
                f"{name}-{kind}",
                args.logs,
                child_opts,
                path=f"/aws/containerinsights/{args.cluster_name}/{kind}",
            )
            for kind in _CONTAINER_LOG_KINDS
        }
        self.application = groups["application"].name
        self.register_outputs({"application": self.application})


@dataclass(frozen=True, kw_only=True)
class ApiGatewayLogsArgs:
    """Arguments for `ApiGatewayLogs`.

    Attributes:
        region: Region of the APIs.
        tags: Tags of a role that is created. Defaults to none.
    """

    region: pulumi.Input[str]
    tags: Mapping[str, str] | None = None


class ApiGatewayLogs(pulumi.ComponentResource):
    """The role that lets every API of the account and Region write logs: see `ApiLogRole`."""

    def __init__(
        self, name: str, args: ApiGatewayLogsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ApiGatewayLogs", name, None, opts)
        args = parse_args(ApiGatewayLogsArgs, args)
        ApiLogRole(
            name,
            region=args.region,
            tags=args.tags or {},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
