"""Signatures of Sigstore's identities are verified without a network, like those of keys."""

import hashlib
import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from berth.cli.stacks import load_deployable_spec
from berth.operations.image_signatures import require_signed_images
from berth.operations.signature_state import collect_signers, describe_version
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_file
from berth_protocol.model_card import read_card
from pulumi_berth.signing.bundle import (
    find_signature_file,
    find_signer,
    read_signature,
    read_statement,
    verify_version,
)
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.identity import TrustedIdentity, verify_identity
from pulumi_berth.signing.keys import parse_public_key
from tests.repository import REPOSITORY
from tests.unit.signing_keys import create_key, public_key, sign_directory
from tests.unit.sigstore_instance import SigstoreInstance

pytestmark = pytest.mark.slow

CASES = Path(__file__).parent / "model_signing_cases"
VERSIONS = ["v0.3.1", "v1.0.0", "v1.0.1", "v1.1.0"]
SIGNER, ISSUER = "release@example.com", "https://issuer.example.com/oauth2"
WORKFLOW = "https://ci.example.com/shop/release.yml@refs/heads/main"
INSTANCE = SigstoreInstance()


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> NoReturn:
        raise AssertionError("the verification used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with version 1 of digits and the trust root of an instance."""
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    shutil.copytree(REPOSITORY / "models" / "digits" / "1", tmp_path / "models" / "digits" / "1")
    (tmp_path / "keys").mkdir()
    INSTANCE.write_trust_root(tmp_path / "keys" / "trusted_root.json")
    return tmp_path


def version(root: Path) -> Path:
    return root / "models" / "digits" / "1"


def trust(root: Path, identity: str = SIGNER, issuer: str = ISSUER) -> TrustedIdentity:
    path = root / "keys" / "trusted_root.json"
    return TrustedIdentity(identity=identity, issuer=issuer, trust_root=path)


def _case(identity: str = "stefanb@us.ibm.com", host: str = "verify.ibm.com") -> TrustedIdentity:
    """Return the identity of the format's cases, whose instance is the public one."""
    return TrustedIdentity(
        identity=identity,
        issuer=f"https://sigstore.{host}/oauth2",
        trust_root=CASES / "trusted_root.json",
    )


@pytest.mark.parametrize("release", VERSIONS)
def test_signature_by_identity_in_conformance_case_is_accepted(release: str) -> None:
    bundle = read_signature(CASES / f"{release}-sigstore.sig").bundle

    signer, payload = verify_identity(bundle, [_case("other@us.ibm.com"), _case()])

    assert signer == _case()
    assert read_statement(payload) == {
        name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        for name in ("signme-1", "signme-2")
    }


@pytest.mark.parametrize("release", VERSIONS)
def test_signature_by_key_in_conformance_case_is_accepted(release: str) -> None:
    key = parse_public_key((CASES / "signing-key-pub.pem").read_text())
    signature = read_signature(CASES / f"{release}-elliptic-key.sig")

    assert find_signer(signature, [public_key(create_key()), key]) == key
    # In the first cases, the model is a single file, whose name is ".".
    content = hashlib.sha256(b"signme-1\n").hexdigest()
    assert f"sha256:{content}" in read_statement(signature.payload).values()


def _tamper(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads((CASES / "v1.1.0-sigstore.sig").read_text())
    change(document)
    return json.dumps(document).encode()


def _entry(document: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = document["verificationMaterial"]["tlogEntries"][0]
    return entry


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "payload": (lambda each: each["dsseEnvelope"].update(payload="e30="), "invalid signature"),
    "no log entry": (
        lambda each: each["verificationMaterial"].update(tlogEntries=[]),
        "exactly one log entry",
    ),
    "other time": (
        lambda each: _entry(each).update(integratedTime="1900000000"),
        "certificate",
    ),
    "other log entry": (
        lambda each: _entry(each).update(canonicalizedBody="e30="),
        "invalid log entry",
    ),
    "other certificate": (
        lambda each: each["verificationMaterial"].update(certificate={"rawBytes": "MAA="}),
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_changed_conformance_case_is_refused(case: str) -> None:
    change, reason = REFUSED[case]

    with pytest.raises(SignatureError, match=f"not signed by a trusted identity: .*{reason}"):
        verify_identity(_tamper(change), [_case()])


@pytest.mark.parametrize(
    "other", [_case("other@us.ibm.com"), _case(host="example.com")], ids=["identity", "issuer"]
)
def test_conformance_case_by_another_identity_is_refused(other: TrustedIdentity) -> None:
    bundle = read_signature(CASES / "v1.1.0-sigstore.sig").bundle

    with pytest.raises(SignatureError, match="not signed by a trusted identity"):
        verify_identity(bundle, [other])


@pytest.mark.parametrize("identity", [SIGNER, WORKFLOW])
def test_version_signed_by_identity_is_accepted(root: Path, identity: str) -> None:
    INSTANCE.sign_version(version(root), identity, ISSUER)
    trusted = trust(root, identity)

    assert verify_version(version(root), [public_key(create_key()), trusted]) == trusted
    for other in (trust(root, "x@example.com"), trust(root, identity, "https://example.org")):
        with pytest.raises(SignatureError, match=r"not signed by a trusted identity: .*match"):
            verify_version(version(root), [other])
    with pytest.raises(SignatureError, match="only keys are trusted"):
        verify_version(version(root), [public_key(create_key())])


def test_identity_of_another_instance_is_refused(root: Path) -> None:
    """Anybody can start an instance that issues certificates for any identity."""
    SigstoreInstance().sign_version(version(root), SIGNER, ISSUER)

    with pytest.raises(SignatureError, match="not signed by a trusted identity"):
        verify_version(version(root), [trust(root)])


def test_changed_version_is_refused_although_the_identity_is_trusted(root: Path) -> None:
    INSTANCE.sign_version(version(root), SIGNER, ISSUER)
    card = version(root) / "model.yaml"
    card.write_text(card.read_text() + "# edited\n")

    with pytest.raises(SignatureError, match=r"differs from what was signed: model.yaml is"):
        verify_version(version(root), [trust(root)])


def write_stack(
    root: Path, *, keys: str = "", image: str = "", path: str = "keys/trusted_root.json"
) -> None:
    (root / "Pulumi.local.yaml").write_text(
        f"config:\n  berth:platform: {'docker' if image else 'local'}\n"
        f'  berth:models: {{digits: {{versions: {{"1": {{{image}}}}}}}}}\n{keys}'
        f"  berth:trusted_identities:\n    ci:\n      identity: {SIGNER}\n"
        f"      issuer: {ISSUER}\n      trust_root: {path}\n"
    )


def problems(root: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_deployable_spec(root, "local")
    return caught.value.problems


def test_stack_accepts_only_version_of_trusted_identity(root: Path) -> None:
    write_stack(root)
    (unsigned,) = problems(root)
    assert "Pulumi.local.yaml:3: berth:models.digits.versions.1: " in unsigned
    INSTANCE.sign_version(version(root), "x@example.com", ISSUER)
    assert "not signed by a trusted identity" in problems(root)[0]
    sign_directory(version(root), create_key())
    assert (
        "signed with a key, and only identities are trusted: release@example.com"
        in (problems(root)[0])
    )

    INSTANCE.sign_version(version(root), SIGNER, ISSUER)
    assert load_deployable_spec(root, "local").trusted_identities["ci"].issuer == ISSUER
    state = describe_version(
        version(root), read_card(version(root)), collect_signers(root, ["local"])
    )
    assert (state.state, state.identity, state.key) == ("trusted", SIGNER, None)


def test_trust_root_that_cannot_be_used_is_reported(root: Path) -> None:
    INSTANCE.sign_version(version(root), SIGNER, ISSUER)
    write_stack(root, path="keys/missing.json")
    (missing,) = problems(root)
    assert "berth:trusted_identities.ci.trust_root: 'keys/missing.json' cannot be read" in missing

    (root / "keys" / "other.json").write_text("{}")
    write_stack(root, path="keys/other.json")
    (other,) = problems(root)
    assert "keys/other.json is not a trust root of Sigstore" in other
    (root / "keys" / "other.json").write_bytes(b" " * ((1 << 20) + 1))
    assert "is larger than 1048576 bytes" in problems(root)[0]


def test_missing_library_is_reported_with_install_command(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    INSTANCE.sign_version(version(root), SIGNER, ISSUER)
    write_stack(root)
    monkeypatch.setitem(sys.modules, "sigstore.models", None)

    (problem,) = problems(root)

    assert "is not installed" in problem
    assert "pip install berth[sigstore]" in problem


def test_pulled_image_needs_a_key(root: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    write_stack(
        root,
        keys="  berth:registry: {url: registry.invalid/x}\n",
        image=f"image: '{digest}'",
    )
    spec = load_file(root / "Pulumi.local.yaml")

    with pytest.raises(SpecError, match="needs a signature by a key, and only identities"):
        require_signed_images(StackContext(root=root, stack="local", spec=spec))


def test_signature_file_names_no_key(root: Path) -> None:
    INSTANCE.sign_version(version(root), SIGNER, ISSUER)
    signature = read_signature(find_signature_file(version(root)))
    assert (signature.is_keyless, signature.fingerprint) == (True, "")
