"""Log groups that a destroyed cluster leaves behind and that would block the next update.

EKS and Container Insights prescribe the names of their log groups. When a cluster ends, its last
log lines arrive after Pulumi has deleted the group, and AWS creates it again, without encryption,
retention and tags (https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763). The
next update would fail with "already exists".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from berth.platforms.aws.access import stack_prefix
from berth.platforms.aws.errors import explain_aws_errors
from pulumi_berth.aws_identity import read_identity

_PAGE = "docs/how-to/troubleshoot.md"


def list_prefixes(stack: str) -> tuple[str, ...]:
    """Return the prefixes of the log groups whose names AWS prescribes."""
    cluster = stack_prefix(stack)
    return (f"/aws/eks/{cluster}/", f"/aws/containerinsights/{cluster}/")


def is_leftover(group: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
    """Return whether AWS created the log group by itself.

    Berth's groups have a key, a retention and tags. A group that a user has changed has one of
    these, and stays.

    Args:
        group: The group as CloudWatch Logs describes it.
    """
    return not tags and "kmsKeyId" not in group and "retentionInDays" not in group


def remove_leftovers(settings: Mapping[str, Any], stack: str) -> list[str]:
    """Delete the log groups that a destroyed cluster of the stack left behind.

    While the cluster exists, its groups are the stack's own and this function changes nothing.

    Args:
        settings: Settings of the AWS provider: `region`, and those of the identity.

    Returns:
        The names of the deleted groups.

    Raises:
        OperationError: If AWS rejects a request.
    """
    identity, region = read_identity(settings), str(settings["region"])
    with explain_aws_errors(_PAGE):
        if stack_prefix(stack) in _list_clusters(identity.create_client("eks", region=region)):
            return []
        logs = identity.create_client("logs", region=region)
        names = [
            str(group["logGroupName"])
            for prefix in list_prefixes(stack)
            for group in _list_groups(logs, prefix)
            if is_leftover(group, _read_tags(logs, group))
        ]
        for name in names:
            logs.delete_log_group(logGroupName=name)
    return names


def _list_clusters(eks: Any) -> Iterator[str]:
    for page in eks.get_paginator("list_clusters").paginate():
        yield from page["clusters"]


def _list_groups(logs: Any, prefix: str) -> Iterator[dict[str, Any]]:
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
        yield from page["logGroups"]


def _read_tags(logs: Any, group: Mapping[str, Any]) -> dict[str, str]:
    tags: dict[str, str] = logs.list_tags_log_group(logGroupName=group["logGroupName"])["tags"]
    return tags
