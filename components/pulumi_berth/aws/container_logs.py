"""ContainerLogs: what the containers and nodes of a cluster write."""

from dataclasses import dataclass

import pulumi

from pulumi_berth.aws.log_group import LogSettings, log_group

# What the add-on amazon-cloudwatch-observability writes to, and `prometheus`, which is Berth's name
# for what its agent reads from the berths (`agent_settings`).
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-EKS-logs.html
_KINDS = ("application", "dataplane", "host", "performance", "prometheus")


@dataclass(frozen=True, kw_only=True)
class ContainerLogsArgs:
    """Whose logs, and how they are kept.

    Attributes:
        cluster_name: of the EKS cluster, after which AWS names the groups.
        logs: how they are kept.
    """

    cluster_name: str
    logs: LogSettings


class ContainerLogs(pulumi.ComponentResource):
    """The log groups of Container Insights. They have to be there before the add-on, which would
    make them itself: readable without a key, kept for ever, and left behind.

    Attributes:
        application: name of the group with what the berths write.
    """

    application: pulumi.Output[str]

    def __init__(
        self, name: str, args: ContainerLogsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ContainerLogs", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        groups = {
            kind: log_group(f"{name}-{kind}", args.logs, inside, path=_path(args, kind))
            for kind in _KINDS
        }
        self.application = groups["application"].name
        self.register_outputs({"application": self.application})


def _path(args: ContainerLogsArgs, kind: str) -> str:
    return f"/aws/containerinsights/{args.cluster_name}/{kind}"
