"""A rollback restores the configuration of an earlier update and, on request, its program."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.engine.project import Project
from tests.signed_stack import Signer, refuse, require_signatures, sign_versions_one_by_one

COMMENT = "# why these weights: see the release notes"


@dataclass(frozen=True)
class FirstRollback:
    """A rollback of a stack with one update.

    Attributes:
        result: Output of `berth rollback --json`.
        before: PIDs before the rollback.
        after: PIDs after the rollback.
    """

    result: Any
    before: dict[str, int]
    after: dict[str, int]


@pytest.fixture(scope="module")
def repository(project: Project) -> Project:
    """The project in a Git repository, with a comment in its configuration."""
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    (project.root / ".gitignore").write_text(".berth/\n__pycache__/\n")
    text = project.config_file.read_text()
    project.config_file.write_text(text.replace("config:\n", f"config:\n  {COMMENT}\n"))
    project.commit("first")
    return project


@pytest.fixture(scope="module", autouse=True)
def first_rollback(repository: Project) -> FirstRollback:
    """The rollback before other tests add updates to the stack."""
    repository.ensure_up()
    before = repository.pids()
    result = repository.json("rollback", "--yes")
    return FirstRollback(result, before, repository.pids())


def _traffic(up: Project) -> dict[str, float]:
    versions = up.json("status")["models"]["digits"]["versions"]
    return {version: entry["traffic"] for version, entry in versions.items()}


def _deploy_traffic(up: Project, first: int, second: int) -> int:
    """Deploy weights and return the number of the update."""
    up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": first, "2": second}))
    up.berth("up", "--yes")
    return _read_number(up)


def _read_number(up: Project) -> int:
    """Return the number of the latest update."""
    return int(up.json("status")["update"]["number"])


def test_rollback_of_only_update_deploys_it_again(first_rollback: FirstRollback) -> None:
    assert first_rollback.result["rolled_back_to"] == 1
    assert first_rollback.result["update"]["number"] == 2
    assert first_rollback.after == first_rollback.before


def test_rollback_is_a_new_update_in_the_history(up: Project) -> None:
    # In some orders of the tests, another test has rolled back before.
    if not (rollbacks := _list_rollbacks(up)):
        _deploy_traffic(up, 60, 40)
        up.berth("rollback", "--yes")
        rollbacks = _list_rollbacks(up)
    assert {(entry["kind"], entry["result"]) for entry in rollbacks} == {("update", "succeeded")}


def _list_rollbacks(up: Project) -> list[dict[str, Any]]:
    history = json.loads(up.pulumi("stack", "history", "--json").stdout)
    return [
        entry
        for entry in history
        if entry["message"].startswith("rollback to update ") and entry["result"] != "failed"
    ]


def test_rollback_restores_previous_configuration_and_keeps_comments(up: Project) -> None:
    _deploy_traffic(up, 50, 50)
    assert _traffic(up) == {"1": 50, "2": 50}
    text = up.config_file.read_text()

    up.berth("rollback", "--yes")
    assert _traffic(up) == {"1": 90, "2": 10}
    after = up.config_file.read_text()
    assert COMMENT in after
    # In the file, only the weights differ.
    changed = set(text.splitlines()) ^ set(after.splitlines())
    assert {line.strip().split(":")[0].strip("'\"") for line in changed} <= {"1", "2", "traffic"}
    up.berth("preview", "--expect-no-changes")


def test_rollback_to_number_restores_that_update(up: Project) -> None:
    first = _read_number(up)
    second = _deploy_traffic(up, 20, 80)
    _deploy_traffic(up, 10, 90)
    up.berth("rollback", "--to", str(first), "--yes")
    assert _traffic(up) == {"1": 90, "2": 10}
    up.berth("rollback", "--to", str(second), "--yes")
    assert _traffic(up) == {"1": 20, "2": 80}


def test_check_names_what_a_rollback_changes_and_what_stops_it(running: Project) -> None:
    number = _read_number(running)
    _deploy_traffic(running, 60, 40)
    latest = running.json("history")[-1]
    assert latest["number"] == _read_number(running)
    paths = [change["path"] for change in latest["changes"]]
    assert "berth:models.digits.traffic.1" in paths
    report = running.json("rollback", "--check", "--to", str(number))
    assert [change["path"] for change in report["changes"]] == paths
    assert (report["obstacles"], report["missing"]) == ([], [])
    before = next(each for each in running.json("history") if each["number"] == number)
    assert before["completeness"] == "complete: yes"

    directory = running.root / "models" / "digits" / "1"
    try:
        directory.rename(directory.with_name("moved"))
        refused = running.berth("rollback", "--check", "--to", str(number), code=1)
    finally:
        directory.with_name("moved").rename(directory)
    assert "It would be refused:" in refused.stdout
    assert "The release is not complete:" in refused.stdout
    assert "model digits/1: directory models/digits/1 is missing." in refused.stdout
    assert "digits" in refused.stdout.partition("It would be refused:")[2]
    assert _read_number(running) == latest["number"]


def test_rollback_to_unknown_update_changes_nothing(running: Project) -> None:
    text = running.config_file.read_text()
    rejected = running.berth("rollback", "--to", "999", "--yes", code=1)
    assert "999" in rejected.stderr
    assert running.config_file.read_text() == text


def test_rollback_without_confirmation_changes_nothing(running: Project) -> None:
    number = _read_number(running)
    _deploy_traffic(running, 70, 30)
    running.berth("rollback", "--to", str(number), code=1)
    assert _traffic(running) == {"1": 70, "2": 30}


def test_rollback_keeps_replaced_keys_and_clients_and_says_so(running: Project) -> None:
    def add_clients(config: dict[str, dict[str, dict[str, object]]]) -> None:
        clients = config["berth:gateway"]["clients"]
        clients["partner"] = {"rate_per_second": 1, "burst": 1}
        clients["gone"] = {"keys": {"a": {}}}

    def replace_clients(config: dict[str, dict[str, dict[str, Any]]]) -> None:
        clients = config["berth:gateway"]["clients"]
        clients["partner"]["burst"] = 7
        del clients["gone"]
        clients["added"] = {}

    running.edit(add_clients)
    path = ("config", "set", "--secret", "--path", "berth:gateway.clients.partner.key")
    running.pulumi(*path, stdin="the-key-of-the-partner-in-may")
    running.berth("up", "--yes")
    gone = running.key("gone")
    number = running.json("status")["update"]["number"]
    running.edit(replace_clients)
    running.pulumi(*path, stdin="the-key-of-the-partner-in-june")
    running.berth("up", "--yes")
    added = running.key("added")
    result = running.berth("rollback", "--to", str(number), "--yes")
    assert running.key("partner") == "the-key-of-the-partner-in-june"
    assert running.key("added") == added
    statuses = {
        key: httpx.get(
            f"{running.json('status')['endpoint']}/v2", headers={"x-api-key": key}
        ).status_code
        for key in (running.key("partner"), added, "the-key-of-the-partner-in-may", gone)
    }
    assert [*statuses.values()] == [200, 200, 401, 401]
    for line in (
        f"Key 'default' of client 'partner' was replaced or removed after update {number}",
        "Client 'gone' stays removed",
        "Client 'added' stays",
    ):
        assert line in result.stdout + result.stderr
    clients = YAML().load(running.config_file)["config"]["berth:gateway"]["clients"]
    assert clients["partner"]["burst"] == 1
    assert "the-key-of" not in running.config_file.read_text()


def test_rollback_requires_the_signatures_that_the_stack_requires_now(
    running: Project, tmp_path: Path
) -> None:
    number = _read_number(running)
    versions = [("digits", "1"), ("digits", "2"), ("breast-cancer", "1")]
    signer = Signer.create(running, tmp_path)
    running.edit(require_signatures)
    sign_versions_one_by_one(running, signer, versions)
    second = _deploy_traffic(running, 65, 35)
    signature = running.root / "models" / "digits" / "1.sig"
    signature.rename(tmp_path / "1.sig")

    # A value that only the file lacks is still required.
    running.edit(lambda config: config.pop("berth:require_signature"))
    for command in (("rollback",), ("rollback", "--to", str(number))):
        lines = (f"as in update {second}", "is not signed")
        refuse(running, *lines, command=(*command, "--yes"))
    report = running.json("rollback", "--check", "--to", str(number), code=1)
    assert any("digits/1 is not signed" in line for line in report["obstacles"])
    assert any(f"update {number} required none" in line for line in report["kept"])
    assert _read_number(running) == second

    restored = ("rollback", "--to", str(number), "--restore-signatures", "--yes")
    running.berth(*restored)
    assert "require_signature" not in running.config_file.read_text()
    running.berth("preview", "--expect-no-changes")


def test_rollback_reports_another_program_and_runs_it_on_request(running: Project) -> None:
    program = running.root / "infra" / "__main__.py"
    text = program.read_text()
    try:
        program.write_text(f'{text}\nimport pulumi\n\npulumi.export("program", "first")\n')
        running.commit("first program")
        running.berth("up", "--yes")
        number = running.json("status")["update"]["number"]
        program.write_text(program.read_text().replace('"first"', '"second"'))
        running.commit("second program")
        running.berth("up", "--yes")
        assert _program(running) == "second"

        rolled_back = running.berth("rollback", "--to", str(number), "--yes")
        assert "--with-program" in rolled_back.stderr
        assert _program(running) == "second"

        running.berth("rollback", "--to", str(number), "--with-program", "--yes")
        assert _program(running) == "first"
        assert running.json("invoke", "digits")["model_name"] == "digits"
    finally:
        program.write_text(text)


def _program(up: Project) -> str:
    """Return the output that names the program of the latest update."""
    return up.pulumi("stack", "output", "program").stdout.strip()
