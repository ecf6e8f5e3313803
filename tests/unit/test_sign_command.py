"""`berth sign` and `require_signature`: keys, existing signatures, and refused versions."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.main import main
from berth.cli.stacks import load_deployable_spec
from berth.operations.preflight import find_problems, list_requirements
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_file
from pulumi_berth.signing.bundle import find_signature_file, verify_version
from tests.repository import REPOSITORY
from tests.unit.signing_keys import (
    create_key,
    public_key,
    public_pem,
    sign_directory,
    write_key,
)

KEY = create_key()
OTHER = create_key()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with version 1 of digits, and the key of its owner."""
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    shutil.copytree(REPOSITORY / "models" / "digits" / "1", tmp_path / "models" / "digits" / "1")
    write_key(tmp_path / "signing.key", KEY)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "release.pub").write_text(public_pem(KEY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BERTH_SIGNING_PASSPHRASE", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sign", "digits", "1", *arguments])


def version(root: Path) -> Path:
    return root / "models" / "digits" / "1"


def test_signed_version_is_valid_and_signing_again_changes_nothing(root: Path) -> None:
    result = run("--key", "signing.key", "--json")

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["key"] == public_key(KEY).fingerprint
    assert document["changed"]
    assert verify_version(version(root), [public_key(KEY)]) == public_key(KEY)
    before = (root / "models" / "digits" / "1.sig").read_bytes()
    assert not json.loads(run("--key", "signing.key", "--json").stdout)["changed"]
    assert (root / "models" / "digits" / "1.sig").read_bytes() == before
    assert sorted(each.name for each in version(root).parent.iterdir()) == ["1", "1.sig"]


def test_signature_by_another_key_is_replaced_only_on_request(root: Path) -> None:
    path = sign_directory(version(root), OTHER)
    before = path.read_bytes()

    result = run("--key", "signing.key")

    assert result.exit_code == 2
    assert "1.sig exists and was not made by this key" in result.stderr
    assert path.read_bytes() == before
    assert run("--key", "signing.key", "--replace").exit_code == 0
    assert verify_version(version(root), [public_key(KEY)]) == public_key(KEY)


def test_changed_version_is_not_signed(root: Path) -> None:
    (version(root) / "notes.txt").write_text("added")

    result = run("--key", "signing.key")

    assert result.exit_code == 2
    assert "notes.txt: is not listed" in result.stderr
    assert not find_signature_file(version(root)).exists()


def test_encrypted_key_needs_passphrase_of_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(root / "signing.key", KEY, b"a long passphrase")

    missing = run("--key", "signing.key")
    monkeypatch.setenv("BERTH_SIGNING_PASSPHRASE", "another")
    wrong = run("--key", "signing.key")
    monkeypatch.setenv("BERTH_SIGNING_PASSPHRASE", "a long passphrase")
    right = run("--key", "signing.key")

    assert (missing.exit_code, wrong.exit_code, right.exit_code) == (2, 2, 0), right.output
    assert "Set its passphrase in BERTH_SIGNING_PASSPHRASE" in missing.stderr
    assert "its passphrase is wrong" in wrong.stderr


@pytest.mark.parametrize("arguments", [[], ["--key", "signing.key", "--sigstore"]])
def test_exactly_one_signer_is_required(root: Path, arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Set one of --key and --sigstore." in result.stderr


def test_missing_library_is_reported_with_install_command(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)

    result = run("--key", "signing.key")

    assert result.exit_code == 2
    assert "-m pip install 'berth[sign]'" in result.stderr
    assert not find_signature_file(version(root)).exists()


def test_library_is_not_imported_to_verify(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_directory(version(root), KEY)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    write_stack(root, "keys/release.pub")

    load_deployable_spec(root, "local")


def write_stack(root: Path, *keys: str) -> None:
    (root / "Pulumi.local.yaml").write_text(
        "config:\n  berth:platform: local\n"
        '  berth:models: {digits: {versions: {"1": {}}}}\n'
        f"  berth:require_signature: {json.dumps(keys)}\n"
    )


def problems(root: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_deployable_spec(root, "local")
    return caught.value.problems


@pytest.mark.parametrize("is_inline", [False, True])
def test_stack_accepts_only_version_with_trusted_signature(root: Path, is_inline: bool) -> None:
    write_stack(root, public_pem(KEY) if is_inline else "keys/release.pub")
    path = version(root)

    (unsigned,) = problems(root)
    assert "Pulumi.local.yaml:3: berth:models.digits.versions.1: " in unsigned
    assert "is not signed: 1.sig does not exist next to it" in unsigned

    sign_directory(path, OTHER)
    (other,) = problems(root)
    assert "it was signed by another key" in other
    assert public_key(KEY).name in other

    sign_directory(path, KEY)
    assert load_deployable_spec(root, "local").require_signature

    (path / "model.onnx").write_bytes(b"\0" + (path / "model.onnx").read_bytes()[1:])
    assert any("model.onnx: is sha256:" in each for each in problems(root))


def test_preflight_reports_unsigned_version(root: Path) -> None:
    write_stack(root, "keys/release.pub")
    file = root / "Pulumi.local.yaml"
    context = StackContext(root=root, stack="local", spec=load_file(file))

    findings = find_problems(context, list_requirements(context, file, lambda _: None))

    (failed,) = [each for each in findings if each.status == "failed"]
    assert (failed.check, "is not signed" in failed.detail) == ("models", True)


def test_unusable_trusted_keys_are_reported_with_their_line(root: Path) -> None:
    (root / "keys" / "private.pub").write_text((root / "signing.key").read_text())
    write_stack(root, "keys/missing.pub", "keys/private.pub")

    missing, private = problems(root)

    assert "berth:require_signature[0]: 'keys/missing.pub' cannot be read (No such file" in missing
    assert "berth:require_signature[1]: 'keys/private.pub' is not a public key in PEM" in private


@pytest.mark.parametrize("value", ["../release.pub", "/etc/release.pub", "-----BEGIN KEY-----"])
def test_trusted_key_is_file_of_project_or_pem(root: Path, value: str) -> None:
    write_stack(root, value)

    (problem,) = problems(root)

    assert "use a public key in PEM format, or the path of its file" in problem


def test_container_that_is_built_from_files_is_refused(root: Path) -> None:
    (root / "server").mkdir()
    (root / "server" / "Dockerfile").write_text("FROM scratch\n")
    (root / "Pulumi.local.yaml").write_text(
        "config:\n  berth:platform: docker\n"
        '  berth:models: {digits: {versions: {"1": {container: {context: server}}}}}\n'
        "  berth:require_signature: [keys/release.pub]\n"
    )

    assert any("versions.1.container.context: is built from files" in one for one in problems(root))
