"""Commands leave the tracked files unchanged, and every clone works with what is committed."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.project import Project

_CONFIG = "Pulumi.local.yaml"


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def up(project: Project) -> Project:
    """A committed project whose stack is deployed."""
    (project.root / ".gitignore").write_text(".berth/\n__pycache__/\n")
    _git(project.root, "init", "-q")
    project.commit("first")
    project.berth("up", "--yes")
    return project


@pytest.fixture
def clone(up: Project, tmp_path: Path) -> Iterator[Project]:
    """Another clone of the project, without the first one's passphrase and state."""
    _git(tmp_path, "clone", "-q", str(up.root), "clone")
    project = Project(tmp_path / "clone", up.stack, up.environment)
    yield project
    project.stop_processes()


@pytest.fixture(autouse=True)
def _restore(up: Project) -> Iterator[None]:
    yield
    _git(up.root, "checkout", "-q", _CONFIG)


def test_commands_leave_git_status_clean(up: Project) -> None:
    up.berth("status")
    up.berth("preview", "--expect-no-changes")
    up.berth("rollback", "--yes")
    assert _git(up.root, "status", "--porcelain") == ""


def test_plain_pulumi_uses_the_same_stack(up: Project) -> None:
    up.pulumi("preview", "--expect-no-changes")
    # Pulumi has written a salt into the tracked file, which Berth neither needs nor removes.
    text = (up.root / _CONFIG).read_text()
    assert "encryptionsalt" in text
    up.berth("preview", "--expect-no-changes")
    assert (up.root / _CONFIG).read_text() == text


def test_stack_survives_loss_of_the_configuration_copy(up: Project) -> None:
    shutil.rmtree(up.root / ".berth" / "config")
    up.berth("preview", "--expect-no-changes")
    assert _git(up.root, "status", "--porcelain") == ""


def test_second_clone_deploys_its_own_stack(clone: Project) -> None:
    clone.berth("up", "--yes")
    assert clone.json("invoke", "digits")["model_name"] == "digits"
    assert _git(clone.root, "status", "--porcelain") == ""
    clone.berth("destroy", "--yes")
    assert _git(clone.root, "status", "--porcelain") == ""


def test_committed_salt_of_another_passphrase_is_ignored(up: Project, clone: Project) -> None:
    up.pulumi("preview")
    shutil.copy2(up.root / _CONFIG, clone.root)
    clone.commit("a salt")
    clone.berth("preview")
    assert _git(clone.root, "status", "--porcelain") == ""


def test_plain_pulumi_creates_a_stack_in_another_clone(clone: Project) -> None:
    clone.pulumi("stack", "init", "local")
    clone.pulumi("preview")


def test_another_machine_uses_the_state_with_the_same_passphrase(
    up: Project, clone: Project
) -> None:
    """Only the passphrase and the state are shared, as with a backend in a bucket."""
    (clone.root / ".berth").mkdir()
    shutil.copytree(up.root / ".berth" / "state", clone.root / ".berth" / "state")
    shutil.copy2(up.root / ".berth" / "passphrase", clone.root / ".berth")
    assert clone.key() == up.key()
    assert clone.json("status")["endpoint"] == up.json("status")["endpoint"]
    assert _git(clone.root, "status", "--porcelain") == ""


def test_secret_set_with_plain_pulumi_is_committed_with_its_salt(clone: Project) -> None:
    clone.berth("preview")
    clone.edit(
        lambda c: c["berth:gateway"]["clients"].update(own={"rate_per_second": 1, "burst": 1})
    )
    clone.pulumi(
        *("config", "set", "--secret", "--path", "berth:gateway.clients.own.key"), stdin="k" * 40
    )
    clone.commit("a secret")
    clone.berth("up", "--yes")
    assert clone.key("own") == "k" * 40
    assert _git(clone.root, "status", "--porcelain") == ""
