"""The OpenSSF model-signing format: what the library signs, what Berth accepts and refuses.

The library `model-signing` is the reference. It and Berth check the same directories and files.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from berth_protocol.model_card import digest, read_card
from pulumi_berth.signing.bundle import (
    MAX_BYTES,
    find_signature_file,
    verify_version,
)
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.keys import parse_public_key
from tests.repository import REPOSITORY
from tests.unit.signing_keys import (
    build_bundle,
    build_statement,
    create_key,
    public_key,
    public_pem,
    sign_directory,
    write_key,
    write_signature,
)

KEY = create_key()
OTHER = create_key()


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A directory of a version."""
    return Path(shutil.copytree(REPOSITORY / "models" / "digits" / "1", tmp_path / "digits" / "1"))


def is_accepted_by_library(version: Path, key: ec.EllipticCurvePrivateKey = KEY) -> bool:
    pem = version.parent / "library.pub"
    pem.write_text(public_pem(key))
    try:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=pem).verify(
            version, find_signature_file(version)
        )
    # The library raises errors of several packages.
    except Exception:
        return False
    return True


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_signature_by_library_is_accepted(version: Path, curve: ec.EllipticCurve) -> None:
    key = create_key(curve)
    model_signing.signing.Config().use_elliptic_key_signer(
        private_key=write_key(version.parent / "key", key)
    ).sign(version, find_signature_file(version))

    assert verify_version(version, [public_key(OTHER), public_key(key)]) == public_key(key)
    with pytest.raises(SignatureError, match="signed by another key"):
        verify_version(version, [public_key(OTHER)])


def test_signature_by_test_helper_is_accepted_by_library_and_berth(version: Path) -> None:
    """Otherwise the cases below would show nothing."""
    sign_directory(version, KEY)

    assert is_accepted_by_library(version)
    assert not is_accepted_by_library(version, OTHER)
    assert verify_version(version, [public_key(KEY)]) == public_key(KEY)


def test_unsigned_version_is_refused_with_command(version: Path) -> None:
    with pytest.raises(SignatureError, match=r"1.sig does not exist.*'berth sign digits 1 --key"):
        verify_version(version, [public_key(KEY)])


def _change_byte(version: Path) -> None:
    model = version / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)


def _change_byte_and_card(version: Path) -> None:
    """Change a file as somebody would who can package, and not sign."""
    before = read_card(version).files["model.onnx"]
    _change_byte(version)
    card = version / "model.yaml"
    after = "sha256:" + hashlib.sha256((version / "model.onnx").read_bytes()).hexdigest()
    card.write_text(card.read_text().replace(before, after))
    assert read_card(version).files["model.onnx"] == after


def _add_file(version: Path) -> None:
    (version / "notes.txt").write_text("added")


def _remove_file(version: Path) -> None:
    (version / "model.onnx").unlink()


def _rename_file(version: Path) -> None:
    (version / "model.onnx").rename(version / "other.onnx")


def _link_file(version: Path) -> None:
    model = version / "model.onnx"
    model.rename(version.parent / "elsewhere.onnx")
    model.symlink_to(version.parent / "elsewhere.onnx")


def _change_card(version: Path) -> None:
    card = version / "model.yaml"
    card.write_text(card.read_text() + "# edited\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_change_byte, "model.onnx: is sha256:"),
        (_change_byte_and_card, "differs from what was signed: .*model.onnx is sha256:"),
        (_add_file, "notes.txt: is not listed"),
        (_remove_file, "model.onnx: is missing"),
        (_rename_file, "other.onnx: is not listed"),
        (_link_file, "model.onnx: is a symbolic link"),
        (_change_card, "differs from what was signed: model.yaml is sha256:"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_changed_files_are_refused_as_by_library(
    version: Path, change: Callable[[Path], None], reason: str
) -> None:
    sign_directory(version, KEY)
    change(version)

    with pytest.raises(SignatureError, match=reason):
        verify_version(version, [public_key(KEY)])
    assert not is_accepted_by_library(version)


def _tampered_payload(version: Path) -> dict[str, Any]:
    document = build_bundle(KEY, build_statement(version))
    statement = build_statement(version, subject=[{"name": "x", "digest": {"sha256": "00" * 32}}])
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    document["dsseEnvelope"]["payload"] = payload
    return document


def _signed(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda version: build_bundle(KEY, build_statement(version, **changes))


def _in_envelope(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda version: build_bundle(KEY, build_statement(version), **changes)


def _in_bundle(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda version: {**build_bundle(KEY, build_statement(version)), **changes}


def _with_resources(change: Callable[[list[dict[str, str]]], Any]) -> Callable[[Path], Any]:
    """Sign a statement with other resources, whose subject is that of the files."""

    def build(version: Path) -> dict[str, Any]:
        statement = build_statement(version)
        resources = statement["predicate"]["resources"]
        change(resources)
        return build_bundle(KEY, statement)

    return build


REFUSED_BY_BOTH: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "other-key": (
        lambda version: build_bundle(OTHER, build_statement(version)),
        "signed by another key",
    ),
    "tampered-statement": (_tampered_payload, "changed after signing"),
    "other-predicate": (
        _signed(predicateType="https://slsa.dev/provenance/v1"),
        "predicateType is 'https://slsa.dev/provenance/v1'",
    ),
    "other-statement": (_signed(_type="https://in-toto.io/Statement/v0.1"), "_type is"),
    "two-subjects": (
        _signed(subject=[{"name": "1", "digest": {"sha256": "00" * 32}}] * 2),
        "subject differs",
    ),
    "inconsistent-subject": (
        _signed(subject=[{"name": "1", "digest": {"sha256": "00" * 32}}]),
        "subject differs",
    ),
    "missing-resource": (_with_resources(lambda resources: resources.pop()), "subject differs"),
    "no-predicate": (_signed(predicate={}), "not valid"),
    "other-payload-type": (_in_envelope(payloadType="text/plain"), "payloadType is"),
    "no-signature": (_in_envelope(signatures=[]), "0 signatures"),
    "other-media-type": (_in_bundle(mediaType="application/json"), "mediaType is"),
    "other-signature": (
        _in_envelope(signatures=[{"sig": base64.b64encode(b"x" * 70).decode(), "keyid": ""}]),
        "changed after signing",
    ),
    "not-base64": (_in_envelope(payload="***"), "is not a signature of a model"),
    "no-envelope": (lambda _: {"mediaType": "x"}, "is not a signature of a model"),
}


@pytest.mark.parametrize("case", REFUSED_BY_BOTH)
def test_other_statement_is_refused_as_by_library(version: Path, case: str) -> None:
    build, reason = REFUSED_BY_BOTH[case]
    write_signature(version, build(version))

    with pytest.raises(SignatureError, match=reason):
        verify_version(version, [public_key(KEY)])
    assert not is_accepted_by_library(version)


def _ignore_model(version: Path) -> dict[str, Any]:
    """Sign only the card, and let the verifier ignore the model."""
    card = digest(version).removeprefix("sha256:")
    return build_bundle(
        KEY,
        build_statement(
            version,
            subject=[
                {
                    "name": "1",
                    "digest": {"sha256": hashlib.sha256(bytes.fromhex(card)).hexdigest()},
                }
            ],
            predicate={
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": ["model.onnx"],
                },
                "resources": [{"name": "model.yaml", "algorithm": "sha256", "digest": card}],
            },
        ),
    )


def test_ignored_file_is_refused_although_library_accepts_it(version: Path) -> None:
    write_signature(version, _ignore_model(version))

    assert is_accepted_by_library(version)
    with pytest.raises(
        SignatureError, match=r"differs from what was signed: model.onnx is not sig"
    ):
        verify_version(version, [public_key(KEY)])


def test_statement_of_old_format_is_refused_although_library_accepts_it(version: Path) -> None:
    """Version 0.1 of the format has no digest of all files, so a file can be left out of it."""
    files = {"model.yaml": digest(version), **read_card(version).files}
    subject = [
        {"name": name, "digest": {"sha256": value.removeprefix("sha256:")}}
        for name, value in files.items()
    ]
    kind = "https://model_signing/Digests/v0.1"
    write_signature(version, _signed(subject=subject, predicateType=kind, predicate={})(version))

    assert is_accepted_by_library(version)
    with pytest.raises(SignatureError, match="predicateType is 'https://model_signing/Digests"):
        verify_version(version, [public_key(KEY)])


@pytest.mark.parametrize("hash_type", ["blake2", "blake3"])
def test_other_hash_is_refused_with_reason(version: Path, hash_type: str) -> None:
    hashing = model_signing.hashing.Config().use_file_serialization(hashing_algorithm=hash_type)
    model_signing.signing.Config().use_elliptic_key_signer(
        private_key=write_key(version.parent / "key", KEY)
    ).set_hashing_config(hashing).sign(version, find_signature_file(version))

    with pytest.raises(SignatureError, match="sign whole files with SHA-256"):
        verify_version(version, [public_key(KEY)])


def test_duplicate_resource_is_refused(version: Path) -> None:
    write_signature(
        version, _with_resources(lambda resources: resources.append(resources[0]))(version)
    )
    with pytest.raises(SignatureError, match="is listed twice"):
        verify_version(version, [public_key(KEY)])


def test_signature_of_another_version_is_refused(version: Path) -> None:
    other = Path(shutil.copytree(REPOSITORY / "models" / "digits" / "2", version.parent / "2"))
    sign_directory(other, KEY).rename(find_signature_file(version))

    with pytest.raises(SignatureError, match=r"differs from what was signed: model.yaml is"):
        verify_version(version, [public_key(KEY)])


def test_large_signature_file_is_refused_before_it_is_decoded(version: Path) -> None:
    with find_signature_file(version).open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SignatureError, match=f"is larger than {MAX_BYTES} bytes"):
        verify_version(version, [public_key(KEY)])


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_invalid_key_is_refused(content: str) -> None:
    with pytest.raises(SignatureError, match="is not a public key in PEM format"):
        parse_public_key(content)


def test_key_of_other_algorithm_is_refused() -> None:
    with pytest.raises(SignatureError, match="is not an ECDSA key on the curve"):
        parse_public_key(public_pem(create_key(ec.SECP256K1())))
