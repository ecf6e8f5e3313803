"""A customer managed KMS key for Pulumi's state, found by its alias."""

from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from berth.errors import OperationError
from berth.platforms.aws.errors import get_code

_DELETION_WINDOW_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Step:
    """One part of the state backend, and whether it was created, changed or left unchanged."""

    target: str
    action: Literal["created", "changed", "unchanged"]


def ensure_key(kms: Any, alias: str, purpose: str) -> tuple[str, list[Step]]:
    """Create the key of `alias` if it does not exist, and enable its rotation.

    Returns:
        The key's ARN, and the steps.

    Raises:
        OperationError: If the alias names a key that cannot be used.
        ClientError: If AWS rejects a request.
    """
    existing = _find(kms, alias)
    arn = existing or _create(kms, alias, purpose)
    steps = [Step(target=f"key {alias}", action="unchanged" if existing else "created")]
    rotates = kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
    if not rotates:
        kms.enable_key_rotation(KeyId=arn)
    if existing:
        action: Literal["unchanged", "changed"] = "unchanged" if rotates else "changed"
        steps.append(Step(target=f"rotation of {alias}", action=action))
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
            f"The key of {alias} is scheduled for deletion. Everything that it encrypts would be "
            f"lost. To keep it, run 'aws kms cancel-key-deletion --region {region} --key-id {arn} "
            f"&& {enable}'."
        )
    if state != "Enabled":
        raise OperationError(f"The key of {alias} has state {state}. Run '{enable}'.")
    if key["KeySpec"] != "SYMMETRIC_DEFAULT":
        raise OperationError(
            f"The key of {alias} has type {key['KeySpec']}, which cannot encrypt for S3 or "
            "Pulumi. Rename its alias and run the command again."
        )
    return arn


def _create(kms: Any, alias: str, purpose: str) -> str:
    arn = str(kms.create_key(Description=purpose)["KeyMetadata"]["Arn"])
    try:
        kms.create_alias(AliasName=alias, TargetKeyId=arn)
    except ClientError:
        # A key without an alias is hard to find and still billed.
        kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=_DELETION_WINDOW_DAYS)
        raise
    return arn
