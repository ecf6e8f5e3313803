"""What a rollback requires of signatures: not less than the stack requires now.

A configuration from before `require_signature`, or one that trusts a key that was removed since,
would otherwise deploy versions that `berth up` refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.operations.update import Update

KEYS = ("berth:require_signature", "berth:trusted_identities")


@dataclass(frozen=True, kw_only=True)
class SignatureRequirement:
    """The signatures that a rollback requires.

    Attributes:
        values: The values of `KEYS`. Empty to require no signature.
        kept_from: Where the values come from, or None if they are those of the update.
        own: The values of the update.
    """

    values: Mapping[str, Any]
    kept_from: str | None = None
    own: Mapping[str, Any]


def choose_requirement(
    current: Mapping[str, Any], deployed: Update | None, update: Update, *, restores: bool = False
) -> SignatureRequirement:
    """Return the signatures that a rollback to `update` requires.

    The configuration file wins. If it requires none, what is deployed wins, so that removing the
    keys from the file is not enough to deploy an unsigned version.

    Args:
        current: The stack's configuration file.
        deployed: The latest successful update.
        restores: Whether the user accepts the requirement of `update` instead.
    """
    own = _read(update.config)
    sources = {"the configuration file": _read(current)}
    if deployed is not None:
        sources[f"update {deployed.number}"] = _read(deployed.config)
    kept = [(source, values) for source, values in sources.items() if values]
    if restores or not kept or kept[0][1] == own:
        return SignatureRequirement(values=own, own=own)
    source, values = kept[0]
    return SignatureRequirement(values=values, kept_from=source, own=own)


def apply_requirement(
    config: Mapping[str, Any], requirement: SignatureRequirement
) -> dict[str, Any]:
    """Return a configuration with these required signatures."""
    others = {key: value for key, value in config.items() if key not in KEYS}
    return {**others, **requirement.values}


def describe_requirement(requirement: SignatureRequirement, update: Update) -> list[str]:
    """Return a line if the required signatures are not those of the update."""
    if requirement.kept_from is None:
        return []
    own = "trusted others" if requirement.own else "required none"
    return [
        f"Signatures are required as in {requirement.kept_from}, although update {update.number} "
        f"{own}. To restore its requirement, add --restore-signatures."
    ]


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in KEYS if config.get(key)}
