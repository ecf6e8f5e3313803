"""One entry of a stack's history."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNREADY_TAG = "berth:unready"
"""The stack's tag with the numbers of the updates after which not everything became ready."""

COMPLETE_TAG = "berth:complete"
"""The stack's tag with the numbers of the releases that were complete at the last check."""
INCOMPLETE_TAG = "berth:incomplete-"
"""The first part of the tag with the reason why a release is not complete. Its number follows."""


def parse_unready(tags: Mapping[str, str]) -> set[int]:
    """Return the numbers in the stack's tag `UNREADY_TAG`."""
    return {int(number) for number in tags.get(UNREADY_TAG, "").split()}


@dataclass(frozen=True)
class Update:
    """One entry of a stack's history. The oldest entry has number 1.

    Attributes:
        succeeded: Whether every resource was deployed and everything became ready afterwards.
        config: Values by key (`namespace:name`), structured as in YAML. A secret value is in
            plaintext, so it must only be written through the stack's encryption.
        secrets: The keys whose value is or contains a secret.
        commit: The Git commit of the program, or None outside a Git checkout.
        has_uncommitted_changes: Whether the program had changes that were not committed.
    """

    number: int
    kind: str
    succeeded: bool
    config: Mapping[str, Any]
    secrets: frozenset[str]
    commit: str | None
    has_uncommitted_changes: bool
    ended: str
    changes: Mapping[str, int]

    @classmethod
    def parse(cls, number: int, entry: Mapping[str, Any]) -> "Update":
        """Return the update that one element of `pulumi stack history --json` describes."""
        config = entry.get("config", {})
        environment = entry.get("environment", {})
        return cls(
            number=number,
            kind=entry["kind"],
            succeeded=entry["result"] == "succeeded",
            config={
                key: value.get("objectValue", value.get("value")) for key, value in config.items()
            },
            secrets=frozenset(key for key, value in config.items() if value.get("secret")),
            commit=environment.get("git.head"),
            has_uncommitted_changes=environment.get("git.dirty") == "true",
            ended=entry.get("endTime", ""),
            changes=entry.get("resourceChanges") or {},
        )
