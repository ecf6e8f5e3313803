"""Commands on a stack that was never deployed say so, without an engine."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from berth import engine
from berth.cli.main import main
from berth.operations.state_file import is_never_deployed

_COMMANDS = (
    ["status"],
    ["history"],
    ["key"],
    ["invoke", "digits"],
    ["logs"],
    ["refresh", "--yes"],
    ["rollback", "--yes"],
    ["rollout", "digits", "2", "--yes"],
    ["promote", "local", "other"],
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without any state, on a machine where no engine can be installed."""

    def install(_say: object) -> None:
        pytest.fail("the command installs an engine")

    monkeypatch.setattr(engine, "ensure_engine", install)
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: churn\nruntime: python\n")
    models = {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 100}}}
    for stack in ("local", "other"):
        config = {"berth:platform": "local", "berth:models": models}
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(json.dumps({"config": config}))
    return tmp_path


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_command_says_that_the_stack_was_never_deployed(command: list[str]) -> None:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "Run 'berth up -s local'" in result.output
    assert "deployed" in result.output


@pytest.mark.usefixtures("project")
def test_nothing_is_deleted() -> None:
    result = CliRunner().invoke(main, ["destroy", "--yes", "--json"])
    assert result.exit_code == 0
    assert "never deployed" in result.stderr
    assert json.loads(result.stdout) == {"stack": "local", "result": "destroyed"}


@pytest.mark.parametrize(
    "left",
    [
        "churn/local.json",
        "churn/local.json.gz",
        "churn/local.json.bak",
        "local.json",
    ],
)
def test_any_trace_of_a_stack_is_left_to_the_engine(project: Path, left: str) -> None:
    file = project / ".berth/state/.pulumi/stacks" / left
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert not is_never_deployed(project, "local")
    assert is_never_deployed(project, "other")


def test_remote_backend_is_left_to_the_engine(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    assert not is_never_deployed(project, "local")
