"""The AWS accounts that a stack's configuration names."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ACCOUNT = re.compile(r"[0-9]{12}")


@dataclass(frozen=True)
class Accounts:
    """AWS accounts.

    Attributes:
        own: Accounts that the AWS provider may use (`aws:allowedAccountIds`).
        trusted: Accounts in `berth:policy.trusted_accounts`, and accounts that read from or are
            read by the stack's registry.
    """

    own: frozenset[str]
    trusted: frozenset[str]


def read_accounts(config: Mapping[str, str]) -> Accounts:
    """Return the accounts in the configuration that the engine passes to the pack."""
    registry = _decode(config.get("berth:registry"), {})
    policy = _decode(config.get("berth:policy"), {})
    trusted = [
        *policy.get("trusted_accounts", ()),
        registry.get("source_account"),
        *(entry.get("account") for entry in registry.get("readers") or ()),
        *(entry.get("account") for entry in registry.get("replicate_to") or ()),
    ]
    return Accounts(
        own=frozenset(_valid(_decode(config.get("aws:allowedAccountIds"), []))),
        trusted=frozenset(_valid(trusted)),
    )


def _decode(text: str | None, default: Any) -> Any:
    try:
        value = json.loads(text) if text else default
    except ValueError:
        return default
    return value if isinstance(value, type(default)) else default


def _valid(values: list[Any]) -> Iterator[str]:
    return (str(value) for value in values if _ACCOUNT.fullmatch(str(value)))
