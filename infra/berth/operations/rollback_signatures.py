"""What a rollback requires of signatures: not less than the stack requires now.

A configuration from before `require_signature`, or one that trusts a key that was removed since,
would otherwise deploy versions that `berth up` refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.operations.update import Update

KEY = "berth:require_signature"


@dataclass(frozen=True, kw_only=True)
class SignatureRequirement:
    """The signatures that a rollback requires.

    Attributes:
        signers: The value of `require_signature`. None to require no signature.
        kept_from: Where the value comes from, or None if it is that of the update.
        own: The value of the update.
    """

    signers: Any
    kept_from: str | None = None
    own: Any


def choose_requirement(
    current: Mapping[str, Any], deployed: Update | None, update: Update, *, restores: bool = False
) -> SignatureRequirement:
    """Return the signatures that a rollback to `update` requires.

    The value in the configuration file wins. If the file has none, the value that is deployed
    wins, so that removing the key from the file is not enough to deploy an unsigned version.

    Args:
        current: The stack's configuration file.
        deployed: The latest successful update.
        restores: Whether the user accepts the requirement of `update` instead.
    """
    own = update.config.get(KEY) or None
    sources = {"the configuration file": current.get(KEY) or None}
    if deployed is not None:
        sources[f"update {deployed.number}"] = deployed.config.get(KEY) or None
    kept = [(source, value) for source, value in sources.items() if value is not None]
    if restores or not kept or kept[0][1] == own:
        return SignatureRequirement(signers=own, own=own)
    source, signers = kept[0]
    return SignatureRequirement(signers=signers, kept_from=source, own=own)


def apply_requirement(
    config: Mapping[str, Any], requirement: SignatureRequirement
) -> dict[str, Any]:
    """Return a configuration with these required signatures."""
    others = {key: value for key, value in config.items() if key != KEY}
    return others if requirement.signers is None else {**others, KEY: requirement.signers}


def describe_requirement(requirement: SignatureRequirement, update: Update) -> list[str]:
    """Return a line if the required signatures are not those of the update."""
    if requirement.kept_from is None:
        return []
    own = "required none" if requirement.own is None else "trusted others"
    return [
        f"Signatures are required as in {requirement.kept_from}, although update {update.number} "
        f"{own}. To restore its requirement, add --restore-signatures."
    ]
