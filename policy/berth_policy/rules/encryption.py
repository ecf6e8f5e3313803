"""Rules for keys, encryption, log retention and deletion protection."""

from collections.abc import Iterator

from berth_policy.rule import Resource, Rule, Stack, require_one_of, require_value

_KEY = "aws:kms/key:Key"
_LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
_PROTECTED_TYPES = (
    _KEY,
    "aws:s3/bucket:Bucket",
    "aws:ecr/repository:Repository",
    "aws:eks/cluster:Cluster",
)


def _check_protection(resource: Resource, stack: Stack) -> Iterator[str]:
    if stack.protect and not resource.protect:
        yield "Pulumi can delete it"


RULES = (
    Rule(
        id="kms-rotates",
        severity="medium",
        types=(_KEY,),
        description="KMS keys rotate automatically.",
        remedy="Set enable_key_rotation to true.",
        check=require_one_of("enableKeyRotation", True),
    ),
    Rule(
        id="logs-encrypted",
        severity="medium",
        types=(_LOG_GROUP,),
        description="Log groups are encrypted with a customer managed KMS key.",
        remedy="Set kms_key_id.",
        check=require_value("kmsKeyId"),
    ),
    Rule(
        id="logs-retention",
        severity="low",
        types=(_LOG_GROUP,),
        description="Log groups have a retention period.",
        remedy="Set retention_in_days.",
        check=require_value("retentionInDays"),
    ),
    Rule(
        id="sns-encrypted",
        severity="medium",
        types=("aws:sns/topic:Topic",),
        description="SNS topics are encrypted with a customer managed KMS key.",
        remedy="Set kms_master_key_id.",
        check=require_value("kmsMasterKeyId"),
    ),
    Rule(
        id="deletion-protection",
        severity="high",
        types=_PROTECTED_TYPES,
        description="With `berth:protect`, keys, buckets, repositories and clusters refuse "
        "deletion.",
        remedy="Set the resource option protect to True.",
        check=_check_protection,
    ),
)
