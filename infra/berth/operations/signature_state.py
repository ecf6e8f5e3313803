"""Signature states of versions and images, for lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from berth.spec import SpecError, load_file
from berth.spec.signatures import read_signers
from berth_protocol.model_card import ModelCard
from pulumi_berth.oci.registry import RegistryError
from pulumi_berth.signing.bundle import (
    check_signature,
    find_signature_file,
    read_signature,
)
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.identity import TrustedIdentity
from pulumi_berth.signing.image_signature import find_signer, open_image
from pulumi_berth.signing.signers import Signer, select_keys


class State(StrEnum):
    """What is known of a signature.

    `unknown-key` means that no stack of the project trusts the key or identity, so that the
    signature cannot be verified. `not-checked` means that a registry gave no answer.
    """

    TRUSTED = "trusted"
    UNKNOWN_KEY = "unknown-key"
    INVALID = "invalid"
    UNSIGNED = "unsigned"
    NOT_CHECKED = "not-checked"


@dataclass(frozen=True, kw_only=True)
class SignatureState:
    """A signature state.

    Attributes:
        state: The state.
        key: Fingerprint of the key that the signature names. None if it names none.
        identity: Identity of Sigstore that signed. None if a key did, or if it is not trusted.
        problem: Why it is not trusted, or None.
    """

    state: State
    key: str | None = None
    identity: str | None = None
    problem: str | None = None


def collect_signers(root: Path, stacks: Sequence[str]) -> list[Signer]:
    """Return whom a stack of the project trusts. Files with problems are skipped."""
    signers: dict[object, Signer] = {}
    for stack in stacks:
        try:
            spec = load_file(root / f"Pulumi.{stack}.yaml")
        except SpecError:
            continue
        for signer in read_signers(spec, root)[0]:
            key = signer if isinstance(signer, TrustedIdentity) else signer.fingerprint
            signers[key] = signer
    return list(signers.values())


def describe_version(directory: Path, card: ModelCard, signers: Sequence[Signer]) -> SignatureState:
    """Return the signature state of a version whose files match its card."""
    path = find_signature_file(directory)
    if not path.exists():
        return SignatureState(state=State.UNSIGNED)
    try:
        signature = read_signature(path)
    except SignatureError as error:
        return SignatureState(state=State.INVALID, problem=str(error))
    named = signature.fingerprint or None
    try:
        signer = check_signature(directory, card, signers)
    except SignatureError as error:
        is_known = named in {key.fingerprint for key in select_keys(signers)}
        state = State.INVALID if is_known else State.UNKNOWN_KEY
        return SignatureState(state=state, key=named, problem=str(error))
    if isinstance(signer, TrustedIdentity):
        return SignatureState(state=State.TRUSTED, identity=signer.identity)
    return SignatureState(state=State.TRUSTED, key=signer.fingerprint)


def describe_image(
    reference: str, signers: Sequence[Signer], *, plain_http: bool
) -> SignatureState:
    """Return the signature state of an image in a registry."""
    keys = select_keys(signers)
    try:
        repository, digest = open_image(reference, plain_http=plain_http)
        key, count = find_signer(repository, digest, keys)
    except RegistryError as error:
        return SignatureState(state=State.NOT_CHECKED, problem=str(error))
    except SignatureError as error:
        return SignatureState(state=State.INVALID, problem=str(error))
    if key is not None:
        return SignatureState(state=State.TRUSTED, key=key.fingerprint)
    if count:
        problem = f"none of its {count} signatures is by a key that a stack trusts"
        return SignatureState(state=State.UNKNOWN_KEY, problem=problem)
    return SignatureState(state=State.UNSIGNED)
