"""EncryptionKey: a customer key of KMS for one purpose."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import kms

_USE = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyArgs:
    """What a key is for.

    Attributes:
        purpose: what it encrypts, in words.
        account: number of the account.
        users: statements of its policy beside the account's own (`service_use`, `account_use`).
        rotation_days: until its material is changed, 90 to 2560
            (https://docs.aws.amazon.com/kms/latest/developerguide/rotating-keys-enable.html).
        deletion_window_days: that a deleted key can still be had back, 7 to 30.
        protect: whether the engine refuses to delete it.
        region: of the key; the provider's when None.
    """

    purpose: str
    account: pulumi.Input[str]
    users: Sequence[pulumi.Input[Mapping[str, Any]]] = ()
    rotation_days: int = 365
    deletion_window_days: int = 30
    protect: bool = False
    region: str | None = None


class EncryptionKey(pulumi.ComponentResource):
    """A key that rotates, whose use the account's own policies grant, and those it names.

    Attributes:
        arn: of the key.
        alias: the name that people find it by, `alias/...`.
    """

    arn: pulumi.Output[str]
    alias: pulumi.Output[str]

    def __init__(
        self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:EncryptionKey", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        key = kms.Key(
            name,
            description=args.purpose,
            enable_key_rotation=True,
            rotation_period_in_days=args.rotation_days,
            deletion_window_in_days=args.deletion_window_days,
            region=args.region,
            policy=pulumi.Output.all(args.account, *args.users).apply(_policy),
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(protect=args.protect)),
        )
        alias = kms.Alias(
            name,
            name_prefix=f"alias/berth-{pulumi.get_stack()}-{name}-",
            target_key_id=key.id,
            region=args.region,
            opts=inside,
        )
        # Through the alias, so that what uses the key comes after it: as complete as it gets.
        self.arn = pulumi.Output.all(key.arn, alias.id).apply(lambda made: str(made[0]))
        self.alias = alias.name
        self.register_outputs({"arn": self.arn, "alias": self.alias})


def _policy(parts: list[Any]) -> str:
    account, *users = parts
    # In a key's own policy "*" is the key (and nothing else can be said there).
    everyone = {
        "Sid": "PoliciesOfTheAccount",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [everyone, *users]})


def service_use(
    service: str, condition: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Any]:
    """A statement that lets an AWS service use the key.

    Args:
        service: its principal, such as `logs.eu-central-1.amazonaws.com`.
        condition: of an IAM policy; for whom the service may use it.
    """
    return {
        "Sid": "Use" + "".join(part.capitalize() for part in service.split(".")[0].split("-")),
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": _USE,
        "Resource": "*",
        **({"Condition": dict(condition)} if condition else {}),
    }


def account_use(account: str, through: str) -> dict[str, Any]:
    """A statement that lets whoever in the account may use the service `through` use the key
    by it, as AWS's own key for disks does.

    The service-linked role of Auto Scaling, which starts encrypted nodes, cannot be named here:
    an account that never had a group of instances does not have it yet, and KMS refuses a policy
    with an unknown principal.
    """
    return {
        "Sid": "UseThrough" + through.split(".")[0].capitalize(),
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [*_USE, "kms:CreateGrant"],
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": through}},
    }
