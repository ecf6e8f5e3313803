"""A customer managed KMS key for Pulumi's state, found by its alias."""

from collections.abc import Mapping
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


def ensure_key(
    kms: Any, alias: str, purpose: str, *, restore: bool = False
) -> tuple[str, list[Step]]:
    """Create the key of `alias` if it does not exist, and enable its rotation.

    Args:
        restore: Enable a key that is disabled, and keep one that is scheduled for deletion. These
            states have a reason that Berth does not know, so only the user decides.

    Returns:
        The key's ARN, and the steps.

    Raises:
        OperationError: If the alias names a key that cannot be used.
        ClientError: If AWS rejects a request.
    """
    existing = _find(kms, alias)
    is_restored = False
    if existing is not None:
        is_restored = _require_usable(kms, alias, existing, restore=restore)
    arn = str(existing["Arn"]) if existing is not None else _create(kms, alias, purpose)
    found: Literal["unchanged", "changed"] = "changed" if is_restored else "unchanged"
    steps = [Step(target=f"key {alias}", action=found if existing else "created")]
    rotates = kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
    if not rotates:
        kms.enable_key_rotation(KeyId=arn)
    if existing:
        action: Literal["unchanged", "changed"] = "unchanged" if rotates else "changed"
        steps.append(Step(target=f"rotation of {alias}", action=action))
    return arn, steps


def _find(kms: Any, alias: str) -> dict[str, Any] | None:
    try:
        key: dict[str, Any] = kms.describe_key(KeyId=alias)["KeyMetadata"]
    except ClientError as error:
        if get_code(error) == "NotFoundException":
            return None
        raise
    return key


def _require_usable(kms: Any, alias: str, key: Mapping[str, Any], *, restore: bool) -> bool:
    """Check that a key can encrypt, and return whether it was restored for that.

    States of a key: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
    """
    state = key["KeyState"]
    if key["KeySpec"] != "SYMMETRIC_DEFAULT":
        raise OperationError(
            f"The key of {alias} has type {key['KeySpec']}, which cannot encrypt for S3 or "
            "Pulumi. Rename its alias and run the command again."
        )
    if state == "Enabled":
        return False
    if state not in ("Disabled", "PendingDeletion"):
        raise OperationError(
            f"The key of {alias} has state {state}, in which it cannot encrypt. Wait until it is "
            "Enabled, or rename its alias, and run the command again."
        )
    if not restore:
        reason = (
            "is scheduled for deletion. Everything that it encrypts would be lost. To keep it"
            if state == "PendingDeletion"
            else "is disabled. To enable it"
        )
        raise OperationError(
            f"The key of {alias} {reason}, run the same command with --restore-keys."
        )
    if state == "PendingDeletion":
        kms.cancel_key_deletion(KeyId=key["KeyId"])  # The key is then disabled.
    kms.enable_key(KeyId=key["KeyId"])
    return True


def _create(kms: Any, alias: str, purpose: str) -> str:
    arn = str(kms.create_key(Description=purpose)["KeyMetadata"]["Arn"])
    try:
        kms.create_alias(AliasName=alias, TargetKeyId=arn)
    except ClientError:
        # A key without an alias is hard to find and still billed.
        kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=_DELETION_WINDOW_DAYS)
        raise
    return arn
