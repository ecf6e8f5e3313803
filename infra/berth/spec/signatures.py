"""Whose signatures a stack trusts: keys, and identities of Sigstore."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from berth.spec.errors import Problem
from berth.spec.fields import Name, ProjectPath, Section, Text
from berth.spec.gateway import HttpsUrl

if TYPE_CHECKING:
    from berth.spec.hosting import HostingSpec
    from pulumi_berth.signing.keys import PublicKey
    from pulumi_berth.signing.signers import Signer

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


SignerIdentity = Annotated[
    str,
    Text(r"[!-~]{3,1000}", "an email address, or the URI of a CI workflow, without spaces"),
]


class TrustedIdentitySpec(Section):
    """An identity that signs with a certificate of Sigstore instead of a key."""

    identity: SignerIdentity
    """Who signs, as in the certificate: an email address, or the URI of a workflow such as
    https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main."""
    issuer: HttpsUrl
    """Identity provider that confirms it, such as https://token.actions.githubusercontent.com."""
    trust_root: ProjectPath
    """File with the certificate authorities and logs of the Sigstore instance: trusted_root.json.
    With it, the verification needs no network."""


TrustedIdentities = Annotated[dict[Name, TrustedIdentitySpec], Field(max_length=20)]


def requires_signatures(spec: "HostingSpec") -> bool:
    """Return whether a stack deploys only signed versions."""
    return bool(spec.require_signature or spec.trusted_identities)


def read_signers(spec: "HostingSpec", root: Path) -> tuple[list["Signer"], list[Problem]]:
    """Return whose signatures a stack trusts, and the problems of those that cannot be used.

    Args:
        root: Directory of the project.
    """
    signers: list[Signer] = []
    problems: list[Problem] = []
    for index, entry in enumerate(spec.require_signature):
        path: tuple[str | int, ...] = ("require_signature", index)
        try:
            signers.append(_read_key(entry, root))
        except OSError as error:
            problems.append(Problem(path, _describe_unreadable(error), True))
        except ValueError as error:
            problems.append(Problem(path, str(error), not entry.startswith(PEM_BEGIN)))
    for name, identity in spec.trusted_identities.items():
        path = ("trusted_identities", name, "trust_root")
        try:
            signers.append(_read_identity(identity, root))
        except OSError as error:
            problems.append(Problem(path, _describe_unreadable(error), True))
    return signers, problems


def _describe_unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror}); correct the path"


def _read_identity(entry: TrustedIdentitySpec, root: Path) -> "Signer":
    from pulumi_berth.signing.identity import TrustedIdentity

    trust_root = root / entry.trust_root
    # Its content is read when a signature needs it.
    with trust_root.open("rb"):
        return TrustedIdentity(identity=entry.identity, issuer=entry.issuer, trust_root=trust_root)


def _read_key(entry: str, root: Path) -> "PublicKey":
    # Only needed by stacks that require signatures, and slow to import.
    from pulumi_berth.signing.keys import parse_public_key

    return parse_public_key(_read_text(entry, root))


def _read_text(entry: str, root: Path) -> str:
    if entry.startswith(PEM_BEGIN):
        return entry
    with (root / entry).open("rb") as stream:
        return stream.read(_MAX_KEY_BYTES).decode(errors="replace")
