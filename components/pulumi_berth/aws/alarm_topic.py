"""AlarmTopic and ScanAlarm: notifications about alarms and about findings in images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import cloudwatch, sns

from pulumi_berth.aws.encryption_key import allow_service
from pulumi_berth.component_args import parse_args

_CLOUDWATCH, _BUDGETS, _EVENTS = (
    f"{service}.amazonaws.com" for service in ("cloudwatch", "budgets", "events")
)
_SEVERITIES = ("CRITICAL", "HIGH")
_COUNTS = "finding-severity-counts"


@dataclass(frozen=True, kw_only=True)
class AlarmTopicArgs:
    """Arguments for `AlarmTopic`.

    Attributes:
        account: Account ID.
        region: Region of the alarms.
        key: ARN of the KMS key that encrypts messages. Its policy needs `alarm_key_statements`.
        emails: Recipients. AWS sends each a confirmation request first, and nothing else until the
            recipient confirms.
    """

    account: pulumi.Input[str]
    region: str
    key: pulumi.Input[str]
    emails: Sequence[str]


class AlarmTopic(pulumi.ComponentResource):
    """An encrypted SNS topic. Its policy lets only CloudWatch alarms, Budgets and EventBridge
    publish, and only over TLS.

    Attributes:
        arn: ARN of the topic. Known after its policy is attached.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: AlarmTopicArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:AlarmTopic", name, None, opts)
        args = parse_args(AlarmTopicArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        topic = sns.Topic(name, kms_master_key_id=args.key, opts=child_opts)
        policy = sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=pulumi.Output.all(topic.arn, args.account).apply(
                lambda values: _topic_policy(args.region, *values)
            ),
            opts=child_opts,
        )
        for email in args.emails:
            sns.TopicSubscription(
                f"{name}-{email}",
                topic=topic.arn,
                protocol="email",
                endpoint=email,
                opts=child_opts,
            )
        # The output depends on the policy, so that publishers come after their permission.
        self.arn = policy.arn
        self.register_outputs({"arn": self.arn})


def alarm_key_statements() -> list[dict[str, Any]]:
    """Return the statements that the policy of the topic's key needs.

    SNS encrypts on behalf of the publisher. Without these statements a message would be lost
    without an error. They have no condition, because EventBridge sends no context to match. The
    topic's policy restricts the publishers.
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
    """
    return [allow_service(service) for service in (_CLOUDWATCH, _BUDGETS, _EVENTS)]


def _topic_policy(region: str, topic: str, account: str) -> str:
    statements = [
        _allow_publish(
            topic, _CLOUDWATCH, _from_source(account, f"cloudwatch:{region}:{account}:alarm:*")
        ),
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
        _allow_publish(topic, _BUDGETS, _from_source(account, f"budgets::{account}:*")),
        # EventBridge sends neither rule nor account, so a condition would reject it.
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html
        _allow_publish(topic, _EVENTS, {}),
        {
            "Sid": "RequireTls",
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _allow_publish(topic: str, service: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Sid": f"From{service.partition('.')[0].capitalize()}",
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sns:Publish",
        "Resource": topic,
        **({"Condition": dict(condition)} if condition else {}),
    }


def _from_source(account: str, source: str) -> dict[str, Any]:
    return {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnLike": {"aws:SourceArn": f"arn:aws:{source}"},
    }


@dataclass(frozen=True, kw_only=True)
class ScanAlarmArgs:
    """Arguments for `ScanAlarm`.

    Attributes:
        repositories: Names of the ECR repositories to watch.
        topic_arn: ARN of a topic that lets EventBridge publish (`AlarmTopic`).
    """

    repositories: Sequence[pulumi.Input[str]]
    topic_arn: pulumi.Input[str]


class ScanAlarm(pulumi.ComponentResource):
    """A notification for each ECR basic scan, automatic or manual, with critical or high findings.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """

    def __init__(
        self, name: str, args: ScanAlarmArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ScanAlarm", name, None, opts)
        args = parse_args(ScanAlarmArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        rule = cloudwatch.EventRule(
            name,
            description="Images of this stack with critical or high findings",
            event_pattern=pulumi.Output.all(*args.repositories).apply(_event_pattern),
            opts=child_opts,
        )
        cloudwatch.EventTarget(
            name,
            rule=rule.name,
            arn=args.topic_arn,
            input_transformer=cloudwatch.EventTargetInputTransformerArgs(
                input_paths={
                    "repository": "$.detail.repository-name",
                    "image": "$.detail.image-digest",
                    # Read each count separately: an object within a string would break the JSON.
                    **{severity: f"$.detail.{_COUNTS}.{severity}" for severity in _SEVERITIES},
                },
                input_template='"Findings in <repository>@<image>: '
                f'{", ".join(f"{severity} <{severity}>" for severity in _SEVERITIES)}"',
            ),
            opts=child_opts,
        )
        self.register_outputs({})


def _event_pattern(repositories: list[str]) -> str:
    # An event contains only severities with findings.
    any_severity = [{_COUNTS: {severity: [{"numeric": [">", 0]}]}} for severity in _SEVERITIES]
    return json.dumps(
        {
            "source": ["aws.ecr"],
            "detail-type": ["ECR Image Scan"],
            "detail": {
                "scan-status": ["COMPLETE"],
                "repository-name": sorted(repositories),
                "$or": any_severity,
            },
        }
    )
