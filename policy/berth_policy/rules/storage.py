"""Rules for buckets and image repositories."""

import json
from collections.abc import Iterator

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, require_one_of

_BUCKET = "aws:s3/bucket:Bucket"
_ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
_ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
_LOGGING = "aws:s3/bucketLogging:BucketLogging"
_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
_REPOSITORY = "aws:ecr/repository:Repository"
_ACCESS_SETTINGS = (
    "blockPublicAcls",
    "blockPublicPolicy",
    "ignorePublicAcls",
    "restrictPublicBuckets",
)


def _check_public_access(bucket: Resource, stack: Stack) -> Iterator[str]:
    blocks = stack.related(bucket, _ACCESS_BLOCK, "bucket")
    if not blocks:
        yield "it has no public access block"
    for block in blocks:
        disabled = [key for key in _ACCESS_SETTINGS if block.get(key) not in (True, UNKNOWN)]
        if disabled:
            yield f"its public access block does not set {', '.join(disabled)}"


def _check_versioning(bucket: Resource, stack: Stack) -> Iterator[str]:
    status = "versioningConfiguration.status"
    if not any(
        one.get(status) in ("Enabled", UNKNOWN)
        for one in stack.related(bucket, _VERSIONING, "bucket")
    ):
        yield "overwritten and deleted objects cannot be recovered"


def _check_encryption(bucket: Resource, stack: Stack) -> Iterator[str]:
    algorithms = {
        one.get("rules.applyServerSideEncryptionByDefault.sseAlgorithm")
        for one in stack.related(bucket, _ENCRYPTION, "bucket")
    }
    # S3 delivers no access log to a bucket with a KMS key.
    receives_log = bool(stack.related(bucket, _LOGGING, "targetBucket"))
    allowed = {"aws:kms", "aws:kms:dsse", UNKNOWN} | ({"AES256"} if receives_log else set())
    if not algorithms & allowed:
        yield "no customer managed KMS key encrypts it"


def _check_tls(bucket: Resource, stack: Stack) -> Iterator[str]:
    policies = [one.get("policy") for one in stack.related(bucket, _POLICY, "bucket")]
    if not any(policy is UNKNOWN or _requires_tls(policy) for policy in policies):
        yield "its policy does not deny requests without TLS"


def _requires_tls(policy: object) -> bool:
    document = json.loads(policy) if isinstance(policy, str) else {}
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        in ("false", False)
        for statement in document.get("Statement", ())
    )


RULES = (
    Rule(
        id="s3-no-public-access",
        severity="critical",
        types=(_BUCKET,),
        needs_stack=True,
        description="Buckets block public access.",
        remedy="Add an s3.BucketPublicAccessBlock with all four settings true.",
        check=_check_public_access,
    ),
    Rule(
        id="s3-versioned",
        severity="high",
        types=(_BUCKET,),
        needs_stack=True,
        description="Buckets keep previous versions of objects.",
        remedy='Add an s3.BucketVersioning with the status "Enabled".',
        check=_check_versioning,
    ),
    Rule(
        id="s3-encrypted",
        severity="high",
        types=(_BUCKET,),
        needs_stack=True,
        description="Buckets are encrypted with a customer managed KMS key; buckets for access "
        "logs with the key that S3 manages.",
        remedy="Add an s3.BucketServerSideEncryptionConfiguration with aws:kms and a key.",
        check=_check_encryption,
    ),
    Rule(
        id="s3-tls-only",
        severity="high",
        types=(_BUCKET,),
        needs_stack=True,
        description="Buckets deny requests without TLS.",
        remedy="Add an s3.BucketPolicy that denies everything if aws:SecureTransport is false.",
        check=_check_tls,
    ),
    Rule(
        id="ecr-immutable",
        severity="high",
        types=(_REPOSITORY,),
        description="Tags in image repositories are immutable.",
        remedy='Set image_tag_mutability to "IMMUTABLE".',
        check=require_one_of("imageTagMutability", "IMMUTABLE"),
    ),
    Rule(
        id="ecr-scanned",
        severity="high",
        types=(_REPOSITORY,),
        description="Image repositories scan each pushed image.",
        remedy="Set image_scanning_configuration.scan_on_push to true.",
        check=require_one_of("imageScanningConfiguration.scanOnPush", True),
    ),
    Rule(
        id="ecr-encrypted",
        severity="medium",
        types=(_REPOSITORY,),
        description="Image repositories are encrypted with a customer managed KMS key.",
        remedy="Set encryption_configurations to KMS and a key.",
        check=require_one_of("encryptionConfigurations.encryptionType", "KMS"),
    ),
)
