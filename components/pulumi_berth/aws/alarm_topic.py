"""AlarmTopic: where everything that watches a stack sends what it found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import sns

from pulumi_berth.aws.encryption_key import service_use

_CLOUDWATCH, _BUDGETS, _EVENTS = (
    f"{service}.amazonaws.com" for service in ("cloudwatch", "budgets", "events")
)


@dataclass(frozen=True, kw_only=True)
class AlarmTopicArgs:
    """Who sends to it, and who hears of it.

    Attributes:
        account: number of the account.
        region: of the alarms.
        key: ARN of the key that messages are encrypted with; its policy has `alarm_key_users`.
        emails: addresses; AWS sends each a letter, and nothing else before it is confirmed there.
    """

    account: pulumi.Input[str]
    region: str
    key: pulumi.Input[str]
    emails: Sequence[str]


class AlarmTopic(pulumi.ComponentResource):
    """An encrypted topic to which CloudWatch alarms, Budgets and EventBridge publish, over TLS, and
    nobody else does by the topic's own policy.

    Attributes:
        arn: of the topic, once its policy is there.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: AlarmTopicArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:AlarmTopic", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        topic = sns.Topic(name, kms_master_key_id=args.key, opts=inside)
        policy = sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=pulumi.Output.all(topic.arn, args.account).apply(
                lambda known: _policy(args.region, *known)
            ),
            opts=inside,
        )
        for email in args.emails:
            sns.TopicSubscription(
                f"{name}-{email}", topic=topic.arn, protocol="email", endpoint=email, opts=inside
            )
        # Through the policy, so that what sends to the topic comes after the right to.
        self.arn = policy.arn
        self.register_outputs({"arn": self.arn})


def alarm_key_users() -> list[dict[str, Any]]:
    """The statements without which the topic's key refuses who publishes: SNS encrypts on behalf of
    the publisher, and an alarm's message would be lost without a word.

    They have no condition: EventBridge comes without what one could hold it to. Who may publish is
    the topic's policy.
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
    """
    return [service_use(service) for service in (_CLOUDWATCH, _BUDGETS, _EVENTS)]


def _policy(region: str, topic: str, account: str) -> str:
    statements = [
        _publish(topic, _CLOUDWATCH, _ours(account, f"cloudwatch:{region}:{account}:alarm:*")),
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
        _publish(topic, _BUDGETS, _ours(account, f"budgets::{account}:*")),
        # EventBridge publishes without naming rule or account; with a condition it is refused.
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html
        _publish(topic, _EVENTS, {}),
        {
            "Sid": "OverTlsAlone",
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _publish(topic: str, service: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Sid": f"From{service.partition('.')[0].capitalize()}",
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sns:Publish",
        "Resource": topic,
        **({"Condition": dict(condition)} if condition else {}),
    }


def _ours(account: str, source: str) -> dict[str, Any]:
    return {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnLike": {"aws:SourceArn": f"arn:aws:{source}"},
    }
