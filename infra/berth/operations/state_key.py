"""A customer key of KMS for what Pulumi keeps, found by its alias."""

from typing import Any

from botocore.exceptions import ClientError

from berth.errors import OperationError
from berth.operations.state_step import Step
from berth.platforms.aws.errors import get_code

_GIVEN_UP_DAYS = 7


def ensure_key(kms: Any, alias: str, purpose: str) -> tuple[str, list[Step]]:
    """Make the key of `alias` unless it is there, and have it rotated.

    Returns:
        The key's ARN, and what was done.

    Raises:
        OperationError: there is a key that cannot be used.
        ClientError: AWS refuses.
    """
    found = _find(kms, alias)
    arn = found or _make(kms, alias, purpose)
    steps = [Step(what=f"key {alias}", did="found" if found else "made")]
    rotates = kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
    if not rotates:
        kms.enable_key_rotation(KeyId=arn)
    if found:
        steps.append(Step(what=f"rotation of {alias}", did="found" if rotates else "changed"))
    return arn, steps


def _find(kms: Any, alias: str) -> str | None:
    try:
        key = kms.describe_key(KeyId=alias)["KeyMetadata"]
    except ClientError as error:
        if get_code(error) == "NotFoundException":
            return None
        raise
    state, arn, region = key["KeyState"], str(key["Arn"]), kms.meta.region_name
    enable = f"aws kms enable-key --region {region} --key-id {arn}"
    if state == "PendingDeletion":
        raise OperationError(
            f"the key of {alias} is about to be deleted, and with it all that it encrypts; to keep "
            f"it: aws kms cancel-key-deletion --region {region} --key-id {arn} && {enable}"
        )
    if state != "Enabled":
        raise OperationError(f"the key of {alias} is not enabled but {state}: {enable}")
    if key["KeySpec"] != "SYMMETRIC_DEFAULT":
        raise OperationError(
            f"the key of {alias} is of kind {key['KeySpec']}, and encrypts nothing for S3 or "
            "Pulumi; give that alias another name, and run this again"
        )
    return arn


def _make(kms: Any, alias: str, purpose: str) -> str:
    arn = str(kms.create_key(Description=purpose)["KeyMetadata"]["Arn"])
    try:
        kms.create_alias(AliasName=alias, TargetKeyId=arn)
    except ClientError:
        # Nobody would find it again, and it has its price.
        kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=_GIVEN_UP_DAYS)
        raise
    return arn
