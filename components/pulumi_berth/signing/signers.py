"""Those whose signatures are accepted: keys, and identities of Sigstore."""

from collections.abc import Sequence

from pulumi_berth.signing.identity import TrustedIdentity
from pulumi_berth.signing.keys import PublicKey

Signer = PublicKey | TrustedIdentity


def select_keys(signers: Sequence[Signer]) -> list[PublicKey]:
    """Return the keys among the signers."""
    return [each for each in signers if isinstance(each, PublicKey)]


def select_identities(signers: Sequence[Signer]) -> list[TrustedIdentity]:
    """Return the identities among the signers."""
    return [each for each in signers if isinstance(each, TrustedIdentity)]
