"""EncryptionKey: a customer managed KMS key for one purpose."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import kms

from pulumi_berth.component_args import parse_args

_USE_ACTIONS = [
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncrypt*",
    "kms:GenerateDataKey*",
    "kms:DescribeKey",
]


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyArgs:
    """Arguments for `EncryptionKey`.

    Attributes:
        stack_name: Name of the stack. It is part of the key's alias.
        purpose: Description of what the key encrypts.
        account: Account ID.
        statements: Statements of the key policy in addition to the account's own
            (`allow_service`, `allow_account_through`).
        rotation_days: Days between rotations, 90 to 2560
            (https://docs.aws.amazon.com/kms/latest/developerguide/rotating-keys-enable.html).
        deletion_window_days: Days in which a deleted key can be recovered, 7 to 30.
        protect: Prevent Pulumi from deleting the key.
        region: Region of the key. Defaults to the provider's Region.
    """

    stack_name: str
    purpose: str
    account: pulumi.Input[str]
    statements: Sequence[pulumi.Input[Mapping[str, Any]]] | None = None
    rotation_days: int | None = 365
    deletion_window_days: int | None = 30
    protect: bool | None = False
    region: str | None = None


class EncryptionKey(pulumi.ComponentResource):
    """A rotating KMS key. IAM policies of the account and the key policy grant its use.

    Attributes:
        arn: ARN of the key. Known after the key has its alias.
        alias: Alias of the key, `alias/...`.
    """

    arn: pulumi.Output[str]
    alias: pulumi.Output[str]

    def __init__(
        self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:EncryptionKey", name, None, opts)
        args = parse_args(EncryptionKeyArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        key = kms.Key(
            name,
            description=args.purpose,
            enable_key_rotation=True,
            rotation_period_in_days=args.rotation_days,
            deletion_window_in_days=args.deletion_window_days,
            region=args.region,
            policy=pulumi.Output.all(args.account, *(args.statements or ())).apply(_key_policy),
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(protect=args.protect)
            ),
        )
        alias = kms.Alias(
            name,
            name_prefix=f"alias/berth-{args.stack_name}-{name}-",
            target_key_id=key.id,
            region=args.region,
            opts=child_opts,
        )
        # The output depends on the alias, so that users of the key come after it.
        self.arn = pulumi.Output.all(key.arn, alias.id).apply(lambda values: str(values[0]))
        self.alias = alias.name
        self.register_outputs({"arn": self.arn, "alias": self.alias})


def _key_policy(values: list[Any]) -> str:
    account, *statements = values
    # In a key policy "*" means this key; no other value is allowed.
    account_policies = {
        "Sid": "AllowAccountPolicies",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [account_policies, *statements]})


def allow_service(
    service: str, condition: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Any]:
    """Return a statement that lets an AWS service use the key.

    Args:
        service: Principal of the service, such as `logs.eu-central-1.amazonaws.com`.
        condition: IAM condition that restricts on whose behalf the service acts.
    """
    return {
        "Sid": "Use" + "".join(part.capitalize() for part in service.split(".")[0].split("-")),
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": _USE_ACTIONS,
        "Resource": "*",
        **({"Condition": dict(condition)} if condition else {}),
    }


def allow_account_through(account: str, service: str) -> dict[str, Any]:
    """Return a statement that lets every user of a service in the account use the key through it.

    AWS's own key for disks has the same statement. The service-linked role of Auto Scaling, which
    starts encrypted nodes, cannot be named: a new account does not have it yet, and KMS rejects a
    policy with an unknown principal.

    Args:
        service: Service endpoint, such as `ec2.eu-central-1.amazonaws.com`.
    """
    return {
        "Sid": "UseThrough" + service.split(".")[0].capitalize(),
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [*_USE_ACTIONS, "kms:CreateGrant"],
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": service}},
    }
