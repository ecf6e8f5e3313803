"""Identities of Sigstore that sign model versions, and the verification of their signatures.

A certificate that lives for minutes binds the signature to an identity, and a transparency log
records when it was made. All of that is in the signature file. With the trust root of the Sigstore
instance as a file, the verification needs no network.

https://docs.sigstore.dev/cosign/verifying/verify/, https://github.com/sigstore/sigstore-python
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pulumi_berth.signing.errors import SignatureError

EXTRA = "sigstore"
"""Extra of this distribution that installs `sigstore`."""
MAX_TRUST_ROOT_BYTES = 1 << 20
_MAX_REASON = 300


@dataclass(frozen=True, kw_only=True)
class TrustedIdentity:
    """An identity whose signatures are accepted.

    Attributes:
        identity: The email address or URI in the certificate.
        issuer: The identity provider that confirmed it.
        trust_root: File with the certificate authorities and logs of the Sigstore instance.
    """

    identity: str
    issuer: str
    trust_root: Path

    @property
    def name(self) -> str:
        """The identity, for messages."""
        return self.identity


def verify_identity(
    bundle: bytes, trusted: Sequence[TrustedIdentity]
) -> tuple[TrustedIdentity, bytes]:
    """Return the trusted identity that made a signature, and what it signed.

    Args:
        bundle: The signature file, which is not larger than a signature may be.
        trusted: At least one identity.

    Raises:
        SignatureError: If none of them made it, a trust root cannot be used, or `sigstore` is
            missing.
    """
    try:
        # Takes seconds to import, and only signatures of identities need it.
        import sigstore.models
        import sigstore.verify
        from sigstore.verify.policy import Identity
    except ImportError as error:
        raise SignatureError(
            "it was signed with an identity of Sigstore, and the package that verifies it is not "
            f"installed ({error}). Run 'pip install berth[{EXTRA}]'"
        ) from error
    reasons: list[str] = []
    for each in trusted:
        try:
            if each.trust_root.stat().st_size > MAX_TRUST_ROOT_BYTES:
                raise SignatureError(f"is larger than {MAX_TRUST_ROOT_BYTES} bytes")
            root = sigstore.models.TrustedRoot.from_file(str(each.trust_root))
            verifier = sigstore.verify.Verifier(trusted_root=root)
        # The library lets the errors of several packages through.
        except Exception as error:
            raise SignatureError(
                f"{each.trust_root} is not a trust root of Sigstore: {_shorten(error)}. Get "
                "trusted_root.json of the instance that issued the certificate"
            ) from error
        try:
            policy = Identity(identity=each.identity, issuer=each.issuer)
            parsed = sigstore.models.Bundle.from_json(bundle)
            _, payload = verifier.verify_dsse(parsed, policy)
        except Exception as error:
            reasons.append(f"{each.identity} ({each.issuer}): {_shorten(error)}")
            continue
        return each, bytes(payload)
    raise SignatureError(
        f"it was not signed by a trusted identity: {'; '.join(reasons)}. Sign it with a trusted "
        "identity, or trust this one"
    )


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."
