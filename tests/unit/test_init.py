"""`berth init`: complete projects from the template, or none."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from berth.cli.main import main
from berth.errors import OperationError
from berth.operations import init
from berth.operations.init import TEMPLATE, create_project
from berth.project import find_project
from berth.spec import load_file
from berth.spec.fields import parse_millicores
from berth.spec.model_files import check_models
from berth.spec.schema import schema_text
from berth_protocol.model_card import digest
from pulumi_berth.images.third_party import get_image
from tests.repository import REPOSITORY


def _content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_project_is_complete_and_valid(tmp_path: Path) -> None:
    assert create_project(tmp_path / "demo") == "demo"
    root = tmp_path / "demo"
    assert set(_content(root)) == {
        ".github/actions/berth/action.yml",
        ".github/workflows/deploy.yml",
        ".github/workflows/drift.yml",
        ".github/workflows/preview.yml",
        ".gitignore",
        ".gitlab-ci.yml",
        "Pulumi.docker.yaml",
        "Pulumi.kubernetes.yaml",
        "Pulumi.local.yaml",
        "Pulumi.yaml",
        "README.md",
        "infra/__main__.py",
        "models/digits/1/model.onnx",
        "models/digits/1/model.yaml",
        "pulumi-stack.schema.json",
        "requirements.txt",
    }
    assert find_project(root / "models") == root
    for name in ("local", "docker", "kubernetes"):
        file = root / f"Pulumi.{name}.yaml"
        check_models(load_file(file), root, file)
    project = YAML(typ="safe").load((root / "Pulumi.yaml").read_text())
    assert project["name"] == "demo"
    assert "template" not in project
    assert not [path for path, text in _content(root).items() if b"${PROJECT}" in text]


def test_template_matches_the_repository() -> None:
    assert digest(TEMPLATE / "models" / "digits" / "1") == digest(REPOSITORY / "models/digits/1")
    assert (TEMPLATE / "pulumi-stack.schema.json").read_text() == schema_text()
    program = (REPOSITORY / "infra" / "__main__.py").read_text()
    assert (TEMPLATE / "infra" / "__main__.py").read_text() == program
    assert f"berth=={version('berth')}\n" in (TEMPLATE / "requirements.txt").read_text()


_LAPTOP_MILLICORES, _OWN_PODS_MILLICORES = 2000, 50


@pytest.mark.parametrize("directory", [REPOSITORY, TEMPLATE], ids=["repository", "template"])
def test_sample_cluster_stack_fits_two_cores_and_pins_its_images(directory: Path) -> None:
    """Half of the cores are left for the cluster itself and for an update's additional pods."""
    file = directory / "Pulumi.kubernetes.yaml"
    spec = load_file(file)
    berths = sum(
        parse_millicores(model.resources.cpu) * (model.replicas.max or model.replicas.min)
        for model in spec.models.values()
        for _ in model.versions
    )
    # The gateway, Traefik and Valkey.
    own = spec.gateway.replicas + spec.kubernetes.controller_replicas + 1
    assert berths + own * _OWN_PODS_MILLICORES <= _LAPTOP_MILLICORES // 2
    assert spec.kubernetes.controller_image == get_image("traefik")
    assert get_image("registry") in file.read_text()


def test_empty_directory_is_used(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    create_project(tmp_path / "demo")
    assert (tmp_path / "demo" / "Pulumi.yaml").is_file()


def test_directory_with_files_is_rejected_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "notes").write_text("mine")
    with pytest.raises(OperationError, match="not an empty directory"):
        create_project(tmp_path / "demo")
    assert _content(tmp_path) == {"demo/notes": b"mine"}


@pytest.mark.parametrize("name", ["a b", "${x}", "ü", "x" * 101])
def test_invalid_name_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperationError, match="not a valid project name"):
        create_project(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_missing_parent_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="No such file or directory"):
        create_project(tmp_path / "missing" / "demo")


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(OperationError, match="No space left on device"):
        create_project(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_installation_from_git_is_pinned_to_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = "berth @ git+https://example.com/berth@c0ffee"
    monkeypatch.setattr(init, "find_pin", lambda: pin)
    create_project(tmp_path / "demo")
    lines = (tmp_path / "demo" / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [pin]


@pytest.mark.parametrize(
    ("origin", "pin"),
    [
        (None, "berth==9.9"),
        ('{"url": "file:///src", "dir_info": {}}', "berth @ file:///src"),
        (
            '{"url": "https://example.com/berth", "vcs_info": {"vcs": "git", "commit_id": "c0"}}',
            "berth @ git+https://example.com/berth@c0",
        ),
    ],
)
def test_pin_names_the_source_of_the_installed_version(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, pin: str
) -> None:
    class Package:
        version = "9.9"

        def read_text(self, name: str) -> str | None:
            return origin if name == "direct_url.json" else None

    monkeypatch.setattr(init, "distribution", lambda _: Package())
    assert init.find_pin() == pin


def test_command_works_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["init", "demo"])
    assert result.exit_code == 0
    assert "cd demo" in result.output
    assert "berth up" in result.output
    again = CliRunner().invoke(main, ["init", "demo"])
    assert again.exit_code == 1
    assert "not an empty directory" in again.output
