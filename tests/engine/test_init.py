"""A project of one's own: `berth init` and `pulumi new` create the same one, and it runs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from berth.operations import init
from berth.operations.init import DESCRIPTION, TEMPLATE, create_project
from tests.engine.project import Project
from tests.text_folder import SIZE
from tests.text_models import SENTENCES, package_text_models


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory, project: Project) -> Iterator[Project]:
    """A new project; `project` only provides the environment."""
    root = tmp_path_factory.mktemp("new") / "demo"
    create_project(root)
    new = Project(root, "local", project.environment)
    yield new
    new.stop_processes()


def test_new_project_serves_its_sample_model_and_stays_clean(
    created: Project, tmp_path: Path
) -> None:
    """The second model is a directory of Hugging Face: its requests contain text."""
    package_text_models(created.root / "models", tmp_path)
    created.edit(lambda config: config["berth:models"].update({SENTENCES: {"versions": {"1": {}}}}))
    subprocess.run(["git", "init", "-q"], cwd=created.root, check=True)
    created.commit("first")
    assert "Serving at http://127.0.0.1:" in created.berth("up", "--yes").stdout
    assert created.json("invoke", "digits")["model_name"] == "digits"
    (embedding,) = created.json("invoke", SENTENCES)["outputs"]
    assert (embedding["name"], embedding["shape"]) == ("sentence_embedding", [2, SIZE])
    status = subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=created.root,
        check=True,
        capture_output=True,
        text=True,
    )
    assert status.stdout == ""
    created.berth("destroy", "--yes")
    assert created.find_processes() == []


def test_pulumi_new_creates_the_same_project(
    created: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except for the version of Berth: `pulumi new` cannot know from where it was installed."""
    (pin,) = (
        line
        for line in (TEMPLATE / "requirements.txt").read_text().splitlines()
        if line.startswith("berth==")
    )
    monkeypatch.setattr(init, "find_pin", lambda: pin)
    target = tmp_path / "demo"
    subprocess.run(
        [
            *("pulumi", "new", str(TEMPLATE), "--generate-only", "--yes", "--non-interactive"),
            *("--name", "demo", "--description", DESCRIPTION, "--dir", str(target)),
        ],
        env=created.environment | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
        check=True,
        capture_output=True,
    )
    expected = tmp_path / "expected" / "demo"
    expected.parent.mkdir()
    create_project(expected)
    files = {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
    assert {path.relative_to(target) for path in target.rglob("*") if path.is_file()} == files
    for path in files - {Path("Pulumi.yaml")}:
        assert (target / path).read_bytes() == (expected / path).read_bytes(), path
    # Pulumi writes this file again, with a tag that names the template.
    actual, wanted = (
        YAML(typ="safe").load((root / "Pulumi.yaml").read_text()) for root in (target, expected)
    )
    assert actual.pop("config").keys() == {"pulumi:tags"}
    assert actual == wanted
