"""Buckets and image repositories: closed, versioned, encrypted, over TLS."""

import json
from collections.abc import Iterator

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, unless

_BUCKET = "aws:s3/bucket:Bucket"
_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
_ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
_LOGGING = "aws:s3/bucketLogging:BucketLogging"
_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
_REPOSITORY = "aws:ecr/repository:Repository"
_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _closed(bucket: Resource, stack: Stack) -> Iterator[str]:
    blocks = stack.about(bucket, _BLOCK, "bucket")
    if not blocks:
        yield "it has no public access block"
    for block in blocks:
        open_ = [key for key in _BLOCKS if block.at(key) not in (True, UNKNOWN)]
        if open_:
            yield f"its public access block leaves out {', '.join(open_)}"


def _versioned(bucket: Resource, stack: Stack) -> Iterator[str]:
    status = "versioningConfiguration.status"
    if not any(
        one.at(status) in ("Enabled", UNKNOWN) for one in stack.about(bucket, _VERSIONING, "bucket")
    ):
        yield "what is overwritten or deleted there is gone"


def _encrypted(bucket: Resource, stack: Stack) -> Iterator[str]:
    algorithms = {
        one.at("rules.applyServerSideEncryptionByDefault.sseAlgorithm")
        for one in stack.about(bucket, _ENCRYPTION, "bucket")
    }
    # S3 delivers no access log to a bucket with a key of KMS.
    takes_log = bool(stack.about(bucket, _LOGGING, "targetBucket"))
    right = {"aws:kms", "aws:kms:dsse", UNKNOWN} | ({"AES256"} if takes_log else set())
    if not algorithms & right:
        yield "no key of the account's own encrypts it"


def _over_tls(bucket: Resource, stack: Stack) -> Iterator[str]:
    policies = [one.at("policy") for one in stack.about(bucket, _POLICY, "bucket")]
    if not any(policy is UNKNOWN or _refuses_plain(policy) for policy in policies):
        yield "its policy does not refuse requests without TLS"


def _refuses_plain(policy: object) -> bool:
    said = json.loads(policy) if isinstance(policy, str) else {}
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        in ("false", False)
        for statement in said.get("Statement", ())
    )


RULES = (
    Rule(
        id="s3-no-public-access",
        severity="critical",
        types=(_BUCKET,),
        whole=True,
        says="A bucket is closed to the public.",
        remedy="Give it an s3.BucketPublicAccessBlock with all four settings true.",
        check=_closed,
    ),
    Rule(
        id="s3-versioned",
        severity="high",
        types=(_BUCKET,),
        whole=True,
        says="A bucket keeps former versions of its objects.",
        remedy='Give it an s3.BucketVersioning with the status "Enabled".',
        check=_versioned,
    ),
    Rule(
        id="s3-encrypted",
        severity="high",
        types=(_BUCKET,),
        whole=True,
        says="A bucket is encrypted with a customer key of KMS; one for access logs with S3's.",
        remedy="Give it an s3.BucketServerSideEncryptionConfiguration with aws:kms and a key.",
        check=_encrypted,
    ),
    Rule(
        id="s3-tls-only",
        severity="high",
        types=(_BUCKET,),
        whole=True,
        says="A bucket refuses requests without TLS.",
        remedy="Give it an s3.BucketPolicy that denies everything where aws:SecureTransport is "
        "false.",
        check=_over_tls,
    ),
    Rule(
        id="ecr-immutable",
        severity="high",
        types=(_REPOSITORY,),
        says="A tag of an image repository stays with its image.",
        remedy='Set image_tag_mutability to "IMMUTABLE".',
        check=unless("imageTagMutability", "IMMUTABLE"),
    ),
    Rule(
        id="ecr-scanned",
        severity="high",
        types=(_REPOSITORY,),
        says="Images are scanned when they are pushed.",
        remedy="Set image_scanning_configuration.scan_on_push to true.",
        check=unless("imageScanningConfiguration.scanOnPush", True),
    ),
    Rule(
        id="ecr-encrypted",
        severity="medium",
        types=(_REPOSITORY,),
        says="An image repository is encrypted with a customer key of KMS.",
        remedy="Set encryption_configurations to KMS and a key.",
        check=unless("encryptionConfigurations.encryptionType", "KMS"),
    ),
)
