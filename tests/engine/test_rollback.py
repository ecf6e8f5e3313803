"""Back to a prior update: its configuration, and on request its program."""

import subprocess
from collections.abc import Iterator

import psutil
import pytest

from tests.engine.project import Project

MARK = "# why these weights: see the release notes"


@pytest.fixture(scope="module")
def up(project: Project) -> Iterator[Project]:
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    (project.root / ".gitignore").write_text(".berth/\n__pycache__/\n*.egg-info/\n")
    path = project.root / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("config:\n", f"config:\n  {MARK}\n"))
    project.commit("first")
    project.berth("up", "--yes")
    yield project
    project.berth("destroy", "--yes")


def _traffic(up: Project) -> dict[str, float]:
    versions = up.json("status")["models"]["digits"]["versions"]
    return {version: entry["traffic"] for version, entry in versions.items()}


def test_with_one_update_only_it_is_applied_again(up: Project) -> None:
    before = up.pids()
    rolled = up.json("rollback", "--yes")
    assert rolled["rolled_back_to"] == 1
    assert up.pids() == before


def test_back_to_the_update_before(up: Project) -> None:
    up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": 50, "2": 50}))
    up.berth("up", "--yes")
    assert _traffic(up) == {"1": 50, "2": 50}
    text = (up.root / "Pulumi.local.yaml").read_text()

    up.berth("rollback", "--yes")
    assert _traffic(up) == {"1": 90, "2": 10}
    after = (up.root / "Pulumi.local.yaml").read_text()
    assert MARK in after
    # Of the file, only the weights differ.
    changed = set(text.splitlines()) ^ set(after.splitlines())
    assert {line.strip().split(":")[0].strip("'\"") for line in changed} <= {"1", "2", "traffic"}
    up.berth("preview", "--expect-no-changes")


def test_it_is_an_update_of_its_own(up: Project) -> None:
    history = up.pulumi("stack", "history", "--json").stdout
    assert "rollback to update" in history


def test_to_a_given_update(up: Project) -> None:
    up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": 20, "2": 80}))
    up.berth("up", "--yes")
    number = up.json("status")["update"]["number"]
    up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": 10, "2": 90}))
    up.berth("up", "--yes")
    up.berth("rollback", "--to", "1", "--yes")
    assert _traffic(up) == {"1": 90, "2": 10}
    up.berth("rollback", "--to", str(number), "--yes")
    assert _traffic(up) == {"1": 20, "2": 80}


def test_an_update_that_is_not_there_changes_nothing(up: Project) -> None:
    text = (up.root / "Pulumi.local.yaml").read_text()
    refused = up.berth("rollback", "--to", "999", "--yes", code=1)
    assert "999" in refused.stderr
    assert (up.root / "Pulumi.local.yaml").read_text() == text


def test_unanswered_question_changes_nothing(up: Project) -> None:
    before = _traffic(up)
    up.berth("rollback", "--to", "1", code=1)
    assert _traffic(up) == before


def test_a_secret_comes_back_encrypted(up: Project) -> None:
    def with_client(config: dict[str, dict[str, dict[str, object]]]) -> None:
        config["berth:gateway"]["clients"]["partner"] = {"rate_per_second": 1, "burst": 1}

    up.edit(with_client)
    path = ("config", "set", "--secret", "--path", "berth:gateway.clients.partner.key")
    up.pulumi(*path, stdin="the-key-of-the-partner-in-may")
    up.berth("up", "--yes")
    number = up.json("status")["update"]["number"]
    up.pulumi(*path, stdin="the-key-of-the-partner-in-june")
    up.berth("up", "--yes")
    assert up.key("partner") == "the-key-of-the-partner-in-june"
    up.berth("rollback", "--to", str(number), "--yes")
    assert up.key("partner") == "the-key-of-the-partner-in-may"
    assert "the-key-of" not in (up.root / "Pulumi.local.yaml").read_text()


def test_another_program_is_said_and_can_be_run(up: Project) -> None:
    up.commit("weights as they are")
    up.berth("up", "--yes")
    old = up.json("status")["update"]["number"]
    docs = up.root / "berth_serving" / "settings.py"
    docs.write_text(docs.read_text() + "\n# a program that differs\n")
    up.commit("another program")
    up.berth("up", "--yes")

    told = up.berth("rollback", "--to", str(old), "--yes")
    assert "--with-program" in told.stderr
    now = {line.split()[-1] for line in _commands(up)}
    assert now == {str(up.root)}

    up.berth("rollback", "--to", str(old), "--with-program", "--yes")
    then = {line.split()[-1] for line in _commands(up)}
    assert all("/.berth/programs/" in directory for directory in then)
    assert up.json("invoke", "digits")["model_name"] == "digits"
    up.berth("up", "--yes")


def _commands(up: Project) -> list[str]:
    """Each berth's process with the folder that its program runs from."""
    return [f"digits-{v} {psutil.Process(up.berth_pid('digits', v)).cwd()}" for v in ("1", "2")]
