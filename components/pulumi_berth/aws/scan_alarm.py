"""ScanAlarm: word of images with grave findings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudwatch

_GRAVE = ("CRITICAL", "HIGH")
_COUNTS = "finding-severity-counts"


@dataclass(frozen=True, kw_only=True)
class ScanAlarmArgs:
    """Whose findings, and who is told.

    Attributes:
        repositories: names of ECR repositories.
        topic_arn: that lets EventBridge publish (`AlarmTopic`).
    """

    repositories: Sequence[pulumi.Input[str]]
    topic_arn: pulumi.Input[str]


class ScanAlarm(pulumi.ComponentResource):
    """A message for each basic scan by ECR, at push or by hand, with critical or high findings.
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """

    def __init__(
        self, name: str, args: ScanAlarmArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ScanAlarm", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        rule = cloudwatch.EventRule(
            name,
            description="Images of this stack with critical or high findings",
            event_pattern=pulumi.Output.all(*args.repositories).apply(_pattern),
            opts=inside,
        )
        cloudwatch.EventTarget(
            name,
            rule=rule.name,
            arn=args.topic_arn,
            input_transformer=cloudwatch.EventTargetInputTransformerArgs(
                input_paths={
                    "repository": "$.detail.repository-name",
                    "image": "$.detail.image-digest",
                    # The counts one by one: an object within a text would not be JSON any more.
                    **{severity: f"$.detail.{_COUNTS}.{severity}" for severity in _GRAVE},
                },
                input_template='"Findings in <repository>@<image>: '
                f'{", ".join(f"{severity} <{severity}>" for severity in _GRAVE)}"',
            ),
            opts=inside,
        )
        self.register_outputs({})


def _pattern(repositories: list[str]) -> str:
    # A severity of which there is nothing is not in the event.
    found = [{_COUNTS: {severity: [{"numeric": [">", 0]}]}} for severity in _GRAVE]
    return json.dumps(
        {
            "source": ["aws.ecr"],
            "detail-type": ["ECR Image Scan"],
            "detail": {
                "scan-status": ["COMPLETE"],
                "repository-name": sorted(repositories),
                "$or": found,
            },
        }
    )
