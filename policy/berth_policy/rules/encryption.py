"""Keys, and what else is encrypted with them or kept for a time; what refuses to be deleted."""

from collections.abc import Iterator

from berth_policy.rule import Resource, Rule, Stack, unless, without

_KEY = "aws:kms/key:Key"
_LOGS = "aws:cloudwatch/logGroup:LogGroup"
_KEPT = (
    _KEY,
    "aws:s3/bucket:Bucket",
    "aws:ecr/repository:Repository",
    "aws:eks/cluster:Cluster",
)


def _protected(resource: Resource, stack: Stack) -> Iterator[str]:
    if stack.protect and not resource.protect:
        yield "the engine would delete it"


RULES = (
    Rule(
        id="kms-rotates",
        severity="medium",
        types=(_KEY,),
        says="A key gets new material by itself.",
        remedy="Set enable_key_rotation to true.",
        check=unless("enableKeyRotation", True),
    ),
    Rule(
        id="logs-encrypted",
        severity="medium",
        types=(_LOGS,),
        says="Logs are encrypted with a customer key of KMS.",
        remedy="Set kms_key_id.",
        check=without("kmsKeyId"),
    ),
    Rule(
        id="logs-kept-for-a-time",
        severity="low",
        types=(_LOGS,),
        says="Logs are kept for a time that somebody chose.",
        remedy="Set retention_in_days.",
        check=without("retentionInDays"),
    ),
    Rule(
        id="sns-encrypted",
        severity="medium",
        types=("aws:sns/topic:Topic",),
        says="What alarms say is encrypted with a customer key of KMS.",
        remedy="Set kms_master_key_id.",
        check=without("kmsMasterKeyId"),
    ),
    Rule(
        id="protected",
        severity="high",
        types=_KEPT,
        says="With `berth:protect` a key, bucket, repository or cluster refuses to be deleted.",
        remedy="Pass protect=True in its options.",
        check=_protected,
    ),
)
