"""The public keys that a stack trusts: `require_signature`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from berth.spec.errors import Problem
from berth.spec.fields import Text

if TYPE_CHECKING:
    from pulumi_berth.signing.keys import PublicKey

PEM_BEGIN = "-----BEGIN PUBLIC KEY-----"
_MAX_KEY_BYTES = 10_000

TrustedKey = Annotated[
    str,
    Text(
        r"-----BEGIN PUBLIC KEY-----[A-Za-z0-9+\/=\s]{1,2000}-----END PUBLIC KEY-----\s*|"
        r"(?!-----)(?![\/~])(?!\.\.(\/|$))(?!.*\/\.\.(\/|$))[^\\\s](.*[^\s])?",
        "a public key in PEM format, or the path of its file, relative to the project and inside "
        "it",
    ),
]
TrustedKeys = Annotated[list[TrustedKey], Field(max_length=20)]


def read_trusted_keys(
    entries: Sequence[str], root: Path
) -> tuple[list["PublicKey"], list[Problem]]:
    """Return the keys of `require_signature`, and the problems of those that cannot be used.

    Args:
        root: Directory of the project.
    """
    keys: list[PublicKey] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        try:
            keys.append(_read_key(entry, root))
        except (OSError, ValueError) as error:
            reason = (
                f"cannot be read ({error.strerror}); correct the path"
                if isinstance(error, OSError)
                else str(error)
            )
            problems.append(
                Problem(("require_signature", index), reason, not entry.startswith(PEM_BEGIN))
            )
    return keys, problems


def _read_key(entry: str, root: Path) -> "PublicKey":
    # Only needed by stacks that require signatures, and slow to import.
    from pulumi_berth.signing.keys import parse_public_key

    return parse_public_key(_read_text(entry, root))


def _read_text(entry: str, root: Path) -> str:
    if entry.startswith(PEM_BEGIN):
        return entry
    with (root / entry).open("rb") as stream:
        return stream.read(_MAX_KEY_BYTES).decode(errors="replace")
