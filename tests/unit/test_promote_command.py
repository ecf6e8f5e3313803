"""The command `berth promote`: exit codes, output, and when it writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast
from unittest.mock import create_autospec

import pytest
from click.testing import CliRunner, Result

from berth.cli.main import main
from berth.errors import OperationError
from berth.operations.stack import Stack
from berth.operations.state_file import RecordedState
from tests.unit.promotion_project import SOURCE_FILE, TARGET_FILE, Project, create_project

Promote = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    created = create_project(tmp_path)
    created.write(SOURCE_FILE.format(platform="local"), TARGET_FILE.format(platform="local"))
    monkeypatch.chdir(tmp_path)
    return created


@pytest.fixture
def promote(project: Project, monkeypatch: pytest.MonkeyPatch) -> Promote:
    """Run the command with what the engine would report: dev is deployed, and prod is not."""

    def open_stack(_root: Path, name: str, **_options: object) -> Stack:
        assert name == "dev"
        stack = create_autospec(Stack, instance=True)
        state = project.state()
        stack.outputs.return_value = dict(state.outputs)
        stack.history.return_value = list(state.history)
        stack.read_config.return_value = (dict(state.config), state.secrets)
        return cast("Stack", stack)

    def read_recorded_state(_root: Path, name: str) -> RecordedState:
        raise OperationError(f"Stack '{name}' is not deployed. Run 'berth up -s {name}'.")

    monkeypatch.setattr("berth.cli.stacks.open_stack", open_stack)
    monkeypatch.setattr("berth.cli.stacks.read_recorded_state", read_recorded_state)

    def run(*arguments: str, answer: str = "") -> Result:
        options = ["promote", "dev", "prod", "--no-request", "--no-parity", *arguments]
        return CliRunner().invoke(main, options, input=answer)

    return run


def _make_worse(project: Project) -> None:
    card = project.root / "models" / "digits" / "2" / "model.yaml"
    card.write_text(card.read_text().replace("accuracy: 0.9926", "accuracy: 0.9"))


def test_dry_run_prints_findings_and_diff_and_changes_nothing(
    project: Project, promote: Promote
) -> None:
    before = project.path("prod").read_text()
    for option in ("--dry-run", "--check"):
        result = promote(option)
        assert result.exit_code == 0, result.output
        assert "passed       deployed: Stack 'dev' runs update 1" in result.output
        assert f"+          digest: {project.digest('2')}" in result.output
        assert project.path("prod").read_text() == before


def test_confirmed_promotion_is_written(project: Project, promote: Promote) -> None:
    before = project.path("prod").read_text()
    assert promote(answer="n\n").exit_code == 1
    assert project.path("prod").read_text() == before
    result = promote(answer="y\n")
    assert result.exit_code == 0
    assert "run 'berth up -s prod'" in result.output
    assert project.digest("2") in project.path("prod").read_text()
    assert "already has this release" in promote("--yes").output


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_failed_check_changes_nothing_and_exits_with_1(
    project: Project, promote: Promote, option: str
) -> None:
    _make_worse(project)
    before = project.path("prod").read_text()
    result = promote(option)
    assert result.exit_code == 1
    assert "A check failed. Nothing was changed." in result.output
    assert project.path("prod").read_text() == before
    assert promote(option, "--accept-worse").exit_code == 0


def test_json_is_one_document(project: Project, promote: Promote) -> None:
    assert promote("--json").exit_code == 2
    document = json.loads(promote("--json", "--dry-run").stdout)
    assert (document["passed"], document["changed"], document["written"]) == (True, True, False)
    written = json.loads(promote("--json", "--yes", "--pull-request").stdout)
    assert written["written"]
    assert project.digest("2") in written["pull_request"]["body"]
    assert json.loads(promote("--json", "--yes").stdout)["written"] is False


def test_pull_request_has_branch_title_and_body(promote: Promote) -> None:
    result = promote("--pull-request", "--dry-run")
    branch, title, empty, *body = result.stdout.splitlines()
    assert branch.startswith("promote-dev-to-prod-")
    assert (title, empty) == ("Promote digits 1/2 from dev to prod", "")
    assert "```diff" in body


def test_invalid_input_is_reported_and_changes_nothing(project: Project, promote: Promote) -> None:
    before = {path: path.read_bytes() for path in project.root.glob("Pulumi*")}
    same = CliRunner().invoke(main, ["promote", "dev", "dev", "--yes"])
    assert (same.exit_code, "Name two stacks" in same.output) == (2, True)
    unknown = CliRunner().invoke(main, ["promote", "dev", "staging", "--yes"])
    assert (unknown.exit_code, "Pulumi.staging.yaml" in unknown.output) == (2, True)
    model = promote("--model", "churn", "--yes")
    assert (model.exit_code, "no model 'churn'" in model.output) == (1, True)
    assert {path: path.read_bytes() for path in project.root.glob("Pulumi*")} == before
