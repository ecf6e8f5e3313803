"""Bills of materials: valid CycloneDX, with the model, its files and the packages of its image."""

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cyclonedx.model.bom import Bom
from jsonschema import Draft7Validator, ValidationError
from referencing import Registry, Resource

from berth.cli.main import main
from berth.errors import OperationError
from berth.operations.bom import build_version_bom
from berth.spec import load_file
from berth_protocol.model_card import digest, read_card
from pulumi_berth.images.build import _attach_sbom
from pulumi_berth.images.contents import ImagePackage
from pulumi_berth.images.sbom import build_sbom
from pulumi_berth.oci.image_store import STORE_HOST, StoredRepository
from pulumi_berth.oci.registry import split_reference
from pulumi_berth.signing.bundle import verify_version
from tests.docker_registry import push_image
from tests.repository import REPOSITORY
from tests.text_models import SENTENCES, package_text_models
from tests.unit.signing_keys import create_key, public_key, write_key

_DIGITS = REPOSITORY / "models" / "digits" / "1"
_KEY = create_key()
_STACK = 'config:\n  berth:platform: docker\n  berth:models: {digits: {versions: {"1": {}}}}\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(_STACK)
    shutil.copytree(_DIGITS, tmp_path / "models" / "digits" / "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def validate(document: bytes) -> dict[str, Any]:
    """Check the document with the schema of CycloneDX 1.6, which forbids unknown keys."""
    # The library's own validator needs packages that make every import of jsonschema slow.
    directory = files("cyclonedx.schema") / "_res"
    schemas = [
        json.loads((directory / f"{name}.SNAPSHOT.schema.json").read_text())
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    ]
    resources = [(schema["$id"], Resource.from_contents(schema)) for schema in schemas]
    content: dict[str, Any] = json.loads(document)
    Draft7Validator(schemas[0], registry=Registry().with_resources(resources)).validate(content)
    return content


def test_validation_finds_unknown_key() -> None:
    """Otherwise the tests below would show nothing."""
    with pytest.raises(ValidationError, match="unknown"):
        validate(b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "unknown": 1}')


def test_bom_of_model_has_card_and_hashes(root: Path) -> None:
    result = CliRunner().invoke(main, ["models", "digits", "1", "--bom", "bom.json"])

    assert result.exit_code == 0, result.output
    content = validate((root / "bom.json").read_bytes())
    card = read_card(_DIGITS)
    model = content["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == (
        "machine-learning-model",
        "digits",
        "1",
    )
    assert model["hashes"][0]["content"] == card.files["model.onnx"].removeprefix("sha256:")
    hashes = {each["name"]: each["hashes"][0]["content"] for each in model["components"]}
    assert hashes["model.yaml"] == digest(_DIGITS).removeprefix("sha256:")
    inputs = model["modelCard"]["modelParameters"]["inputs"]
    assert inputs == [{"format": f"{card.inputs[0].name} FP32 {card.inputs[0].shape}"}]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {each["type"]: float(each["value"]) for each in metrics} == card.metrics
    assert content["components"] == []


_TRAIN = """
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression


def build():
    x, y = load_wine(return_X_y=True)
    return LogisticRegression(max_iter=5000).fit(x, y), x[:50]
"""


def _package_wine(root: Path) -> None:
    """Package and sign a scikit-learn model, as a user does in one command."""
    (root / "train.py").write_text(_TRAIN)
    write_key(root / "signing.key", _KEY)
    arguments = ["train.py:build", "--name", "wine", "--version", "1"]
    result = CliRunner().invoke(main, ["package", *arguments, "--sign", "signing.key", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["signature"]["key"] == public_key(_KEY).fingerprint
    version = root / "models" / "wine" / "1"
    assert verify_version(version, [public_key(_KEY)]) == public_key(_KEY)


def _package_sentences(root: Path) -> None:
    """Package a transformer with its tokenizer."""
    package_text_models(root / "models", root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package"),
    [("wine", _package_wine), (SENTENCES, _package_sentences)],
    ids=["scikit-learn", "transformer"],
)
def test_bom_of_packaged_model_is_read_by_library_and_has_hashes_of_its_files(
    root: Path, name: str, package: Callable[[Path], None]
) -> None:
    package(root)

    result = CliRunner().invoke(main, ["models", name, "1", "--bom", "bom.json"])

    assert result.exit_code == 0, result.output
    data = (root / "bom.json").read_bytes()
    validate(data)
    bom: Any = Bom.from_json(json.loads(data))  # type: ignore[attr-defined]
    model = bom.metadata.component
    assert (model.type.value, model.name, model.version) == ("machine-learning-model", name, "1")
    hashes = {
        component.name: {each.alg.value: each.content for each in component.hashes}
        for component in model.components
    }
    version = root / "models" / name / "1"
    assert hashes == {
        path.relative_to(version).as_posix(): {
            "SHA-256": hashlib.sha256(path.read_bytes()).hexdigest()
        }
        for path in version.rglob("*")
        if path.is_file()
    }


def push_with_sbom(root: Path) -> str:
    repository = StoredRepository(name=f"{STORE_HOST}/digits")
    reference = push_image(repository, "layer")
    manifest = repository.manifest(split_reference(reference)[1])
    packages = [
        ImagePackage(kind="pypi", name="numpy", version="2.4.6", license="BSD-3-Clause"),
        ImagePackage(kind="deb", name="libc6", version="2.41-12"),
    ]
    _attach_sbom(repository, manifest, build_sbom(reference, packages))
    return reference


def build(root: Path, image: str | None, own: str | None = None) -> bytes:
    entry = {"image": image, "digest": own or digest(_DIGITS)}
    return build_version_bom(
        root,
        "digits",
        "1",
        outputs={"models": {"digits": {"versions": {"1": entry}}}},
        spec=load_file(root / "Pulumi.dev.yaml"),
    )


def test_bom_of_image_has_model_and_packages(root: Path) -> None:
    reference = push_with_sbom(root)

    document = build(root, reference)

    assert document == build(root, reference)
    content = validate(document)
    assert content["metadata"]["component"]["type"] == "container"
    assert content["metadata"]["component"]["version"] == split_reference(reference)[1]
    model, libc, numpy = content["components"]
    assert model["type"] == "machine-learning-model"
    assert (libc["purl"], "licenses" in libc) == ("pkg:deb/debian/libc6@2.41-12", False)
    assert numpy["purl"] == "pkg:pypi/numpy@2.4.6"
    assert numpy["licenses"] == [{"expression": "BSD-3-Clause"}]
    depends = {each["ref"]: each.get("dependsOn", []) for each in content["dependencies"]}
    assert depends["image"] == ["model", libc["purl"], numpy["purl"]]


def test_stack_that_runs_other_files_or_no_image_is_refused(root: Path) -> None:
    reference = push_with_sbom(root)

    with pytest.raises(OperationError, match="The stack runs sha256:0000"):
        build(root, reference, "sha256:" + "0" * 64)
    with pytest.raises(OperationError, match="The stack runs no image of digits 1"):
        build(root, None)


def test_image_without_sbom_is_refused(root: Path) -> None:
    reference = push_image(StoredRepository(name=f"{STORE_HOST}/digits"), "another")

    with pytest.raises(OperationError, match="has no SBOM of sha256:"):
        build(root, reference)


def test_bom_needs_version(root: Path) -> None:
    result = CliRunner().invoke(main, ["models", "digits", "--bom", "bom.json"])

    assert result.exit_code == 2
    assert "--bom needs MODEL and VERSION." in result.stderr
