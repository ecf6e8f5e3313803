"""A log group as all of Berth's are: encrypted, and kept for so long and no longer."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudwatch


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """How logs are kept.

    Attributes:
        days: that they are kept; CloudWatch takes 1, 3, 5, 7, 14, 30, 60, 90 and on
            (https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html).
        key: ARN of the key that they are encrypted with.
    """

    days: int
    key: pulumi.Input[str]


def log_group(
    name: str, settings: LogSettings, opts: pulumi.ResourceOptions, *, path: str | None = None
) -> cloudwatch.LogGroup:
    """A log group.

    Args:
        path: its name, where AWS says what that must be; else one is made from `name`.
    """
    return cloudwatch.LogGroup(
        name,
        name=path,
        name_prefix=None if path else f"/berth/{pulumi.get_stack()}/{name}-",
        retention_in_days=settings.days,
        kms_key_id=settings.key,
        opts=opts,
    )
