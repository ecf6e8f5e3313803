"""Signing the directory of a model version in the OpenSSF model-signing format."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from berth.packaging.errors import first_line
from berth.packaging.requirements import missing_package
from berth.signing.private_key import PrivateKey
from berth_protocol.model_card import ModelCard, digest, read_card, verify_files
from pulumi_berth.signing.bundle import (
    check_signature_file,
    find_signature_file,
    read_signature,
    read_statement,
)
from pulumi_berth.signing.errors import SignatureError

EXTRA = "sign"
"""Extra of this distribution that installs `model-signing`."""


@dataclass(frozen=True, kw_only=True)
class SignedVersion:
    """A version with a signature.

    Attributes:
        path: The signature file.
        digest: Digest of the version.
        fingerprint: Fingerprint of the key. None if an identity of Sigstore signed it.
        changed: False if the same key had signed the same files already.
    """

    path: Path
    digest: str
    fingerprint: str | None
    changed: bool


def sign_version(
    directory: Path, key: PrivateKey | None, *, replaces: bool = False
) -> SignedVersion:
    """Sign every file of a version, and write the signature next to its directory.

    The signature is verified before it is published.

    Args:
        key: The key that signs. None to sign with an identity of Sigstore, which needs a browser or
            the identity of a CI job, and the internet.
        replaces: Whether to replace a signature that exists.

    Raises:
        CardError: If the files of the version differ from its card.
        SignatureError: If there is another signature, or `model-signing` is missing or fails.
    """
    card = read_card(directory)
    verify_files(directory, card)
    path = find_signature_file(directory)
    if path.is_symlink() or path.exists():
        if not replaces and key is not None and _is_signed(directory, card, key):
            return _describe(directory, path, key, changed=False)
        if not replaces or not path.is_file() or path.is_symlink():
            raise SignatureError(_describe_existing(path))
    with tempfile.TemporaryDirectory(prefix=".signing-", dir=path.parent) as temporary:
        written = Path(temporary) / path.name
        _sign(directory, written, key)
        _require_valid(directory, card, written, key)
        written.chmod(0o644)
        if replaces:
            written.replace(path)
        else:
            try:
                # Unlike a rename, a link does not replace a file that was created meanwhile.
                os.link(written, path)
            except FileExistsError as error:
                raise SignatureError(_describe_existing(path)) from error
    return _describe(directory, path, key, changed=True)


def _describe(
    directory: Path, path: Path, key: PrivateKey | None, *, changed: bool
) -> SignedVersion:
    return SignedVersion(
        path=path,
        digest=digest(directory),
        fingerprint=None if key is None else key.public.fingerprint,
        changed=changed,
    )


def _is_signed(directory: Path, card: ModelCard, key: PrivateKey) -> bool:
    try:
        check_signature_file(find_signature_file(directory), directory, card, [key.public])
    except SignatureError:
        return False
    return True


def _describe_existing(path: Path) -> str:
    return (
        f"{path} exists and was not made by this key for these files. Nothing was changed. Add "
        "--replace to sign again, or remove the file."
    )


def _sign(directory: Path, path: Path, key: PrivateKey | None) -> None:
    """Write the signature of the files in `directory` to `path`.

    Raises:
        SignatureError: If `model-signing` is missing or fails.
    """
    try:
        # Takes seconds to import, and only this command needs it.
        from model_signing import hashing, signing
    except ImportError as error:
        raise SignatureError(missing_package("Signing", EXTRA, error)) from error
    # By default, the format leaves out files of Git. A version has no other files than its own.
    files = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    config = signing.Config().set_hashing_config(files)
    try:
        if key is None:
            config.use_sigstore_signer(use_ambient_credentials=True)
        else:
            # The library passes the passphrase on to a function that requires bytes.
            config.use_elliptic_key_signer(private_key=key.path, password=key.passphrase)
        config.sign(directory, path)
    # The library lets the errors of several HTTP and OAuth libraries through.
    except Exception as error:
        source = "an identity of Sigstore" if key is None else str(key.path)
        raise SignatureError(
            f"{directory} could not be signed with {source}: {first_line(error)}. Nothing was "
            "changed."
        ) from error


def _require_valid(directory: Path, card: ModelCard, path: Path, key: PrivateKey | None) -> None:
    """Check a new signature in the same way as before a deployment."""
    if key is None:
        read_statement(read_signature(path).payload)
    else:
        check_signature_file(path, directory, card, [key.public])
