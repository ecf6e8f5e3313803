"""A rollback restores the configuration of an earlier update and, on request, its program."""

import subprocess
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.engine.project import Project

COMMENT = "# why these weights: see the release notes"


@pytest.fixture(scope="module")
def project(project: Project) -> Project:
    """The project in a Git repository, with a comment in its configuration."""
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    (project.root / ".gitignore").write_text(".berth/\n__pycache__/\n*.egg-info/\n")
    text = project.config_file.read_text()
    project.config_file.write_text(text.replace("config:\n", f"config:\n  {COMMENT}\n"))
    project.commit("first")
    return project


def _traffic(up: Project) -> dict[str, float]:
    versions = up.json("status")["models"]["digits"]["versions"]
    return {version: entry["traffic"] for version, entry in versions.items()}


def _deploy_traffic(up: Project, first: int, second: int) -> int:
    """Deploy weights and return the number of the update."""
    up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": first, "2": second}))
    up.berth("up", "--yes")
    number: int = up.json("status")["update"]["number"]
    return number


def test_rollback_of_only_update_deploys_it_again(new_project: Project) -> None:
    new_project.berth("up", "--yes")
    before = new_project.pids()
    result = new_project.json("rollback", "--yes")
    assert result["rolled_back_to"] == 1
    assert new_project.pids() == before
    new_project.berth("destroy", "--yes")


def test_rollback_restores_previous_configuration_and_keeps_comments(up: Project) -> None:
    _deploy_traffic(up, 90, 10)
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


def test_rollback_is_a_new_update_in_the_history(up: Project) -> None:
    _deploy_traffic(up, 60, 40)
    up.berth("rollback", "--yes")
    history = up.pulumi("stack", "history", "--json").stdout
    assert "rollback to update" in history


def test_rollback_to_number_restores_that_update(up: Project) -> None:
    first = _deploy_traffic(up, 90, 10)
    second = _deploy_traffic(up, 20, 80)
    _deploy_traffic(up, 10, 90)
    up.berth("rollback", "--to", str(first), "--yes")
    assert _traffic(up) == {"1": 90, "2": 10}
    up.berth("rollback", "--to", str(second), "--yes")
    assert _traffic(up) == {"1": 20, "2": 80}


def test_rollback_to_unknown_update_changes_nothing(up: Project) -> None:
    text = up.config_file.read_text()
    rejected = up.berth("rollback", "--to", "999", "--yes", code=1)
    assert "999" in rejected.stderr
    assert up.config_file.read_text() == text


def test_rollback_without_confirmation_changes_nothing(up: Project) -> None:
    number = _deploy_traffic(up, 90, 10)
    _deploy_traffic(up, 70, 30)
    up.berth("rollback", "--to", str(number), code=1)
    assert _traffic(up) == {"1": 70, "2": 30}


def test_rollback_keeps_replaced_keys_and_clients_and_says_so(up: Project) -> None:
    def add_clients(config: dict[str, dict[str, dict[str, object]]]) -> None:
        clients = config["berth:gateway"]["clients"]
        clients["partner"] = {"rate_per_second": 1, "burst": 1}
        clients["gone"] = {"keys": {"a": {}}}

    def replace_clients(config: dict[str, dict[str, dict[str, Any]]]) -> None:
        clients = config["berth:gateway"]["clients"]
        clients["partner"]["burst"] = 7
        del clients["gone"]
        clients["added"] = {}

    up.edit(add_clients)
    path = ("config", "set", "--secret", "--path", "berth:gateway.clients.partner.key")
    up.pulumi(*path, stdin="the-key-of-the-partner-in-may")
    up.berth("up", "--yes")
    gone = up.key("gone")
    number = up.json("status")["update"]["number"]
    up.edit(replace_clients)
    up.pulumi(*path, stdin="the-key-of-the-partner-in-june")
    up.berth("up", "--yes")
    added = up.key("added")
    result = up.berth("rollback", "--to", str(number), "--yes")
    assert up.key("partner") == "the-key-of-the-partner-in-june"
    assert up.key("added") == added
    statuses = {
        key: httpx.get(
            f"{up.json('status')['endpoint']}/v2", headers={"x-api-key": key}
        ).status_code
        for key in (up.key("partner"), added, "the-key-of-the-partner-in-may", gone)
    }
    assert [*statuses.values()] == [200, 200, 401, 401]
    for line in (
        f"Key 'default' of client 'partner' was replaced or removed after update {number}",
        "Client 'gone' stays removed",
        "Client 'added' stays",
    ):
        assert line in result.stdout + result.stderr
    clients = YAML().load(up.config_file)["config"]["berth:gateway"]["clients"]
    assert clients["partner"]["burst"] == 1
    assert "the-key-of" not in up.config_file.read_text()


def test_rollback_reports_another_program_and_runs_it_on_request(up: Project) -> None:
    program = up.root / "infra" / "__main__.py"
    text = program.read_text()
    try:
        program.write_text(f'{text}\nimport pulumi\n\npulumi.export("program", "first")\n')
        up.commit("first program")
        up.berth("up", "--yes")
        number = up.json("status")["update"]["number"]
        program.write_text(program.read_text().replace('"first"', '"second"'))
        up.commit("second program")
        up.berth("up", "--yes")
        assert _program(up) == "second"

        rolled_back = up.berth("rollback", "--to", str(number), "--yes")
        assert "--with-program" in rolled_back.stderr
        assert _program(up) == "second"

        up.berth("rollback", "--to", str(number), "--with-program", "--yes")
        assert _program(up) == "first"
        assert up.json("invoke", "digits")["model_name"] == "digits"
    finally:
        program.write_text(text)


def _program(up: Project) -> str:
    """Return the output that names the program of the latest update."""
    return up.pulumi("stack", "output", "program").stdout.strip()
