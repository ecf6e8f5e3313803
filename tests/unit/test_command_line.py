"""The command line itself: lazy commands, errors without a project, printed commands."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from berth.cli.main import COMMANDS, main
from berth.cli.options import get_command
from berth.cli.stacks import read_recorded_state
from berth.operations.stack import Stack
from berth.operations.state_file import read_resources, read_state
from tests.repository import REPOSITORY


@pytest.mark.parametrize("name", COMMANDS)
def test_listed_help_is_that_of_the_command(name: str) -> None:
    module = name.replace("-", "_")
    command = getattr(import_module(f"berth.cli.{module}"), module)
    assert isinstance(command, click.Command)
    sentence = (command.help or "").split(".")[0]
    assert COMMANDS[name].rstrip(".").split(".")[0].split(",")[0][:20] in sentence


def test_help_imports_no_command_and_no_sdk() -> None:
    script = (
        "import sys\nfrom berth.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'pulumi', 'pydantic', 'ruamel', 'httpx', 'numpy', 'berth.cli.up', 'berth.spec'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_update_of_a_local_stack_imports_no_client_of_registries_and_no_supervisor() -> None:
    """An update starts the program twice, and a provider process each time."""
    heavy = ["oras", "requests", "jsonschema", "httpx", "supervisor"]
    heavy.append("pulumi_berth.installed_packages")
    script = (
        "import sys, berth.program, berth.platforms.local.deploy, pulumi_berth.provider_host\n"
        "from pulumi_berth.local.loopback import get_json\nassert get_json(1, '/') is None\n"
        f"print(sorted(set({heavy}) & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_modules_that_read_a_cluster_or_an_engine_import_no_classes_of_kubernetes_resources() -> (
    None
):
    """The SDK's classes take each command a second of CPU time, and only programs need them."""
    names = ["cluster", "metrics", "observe", "ownership", "parent_gateway", "restored_objects"]
    modules = [f"berth.platforms.kubernetes.{name}" for name in names]
    modules += ["berth.platforms.aws.access", "berth.platforms.docker.deploy"]
    script = f"import sys, {', '.join(modules)}\nprint('pulumi_kubernetes' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["status", "up", "key", "logs", "destroy", "graph"])
def test_command_outside_a_project_fails_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 2
    assert result.output.startswith("No Pulumi.yaml in ")
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_test_command_exists_only_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert "  test " in CliRunner().invoke(main, ["--help"]).output
    monkeypatch.chdir(tmp_path)
    assert "  test " not in CliRunner().invoke(main, ["--help"]).output
    assert CliRunner().invoke(main, ["test"]).exit_code == 2


def test_json_without_yes_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    result = CliRunner().invoke(main, ["up", "--json"])
    assert result.exit_code == 2
    assert "--json cannot prompt for confirmation. Add --yes." in result.output


@pytest.mark.parametrize(
    ("variable", "program", "expected"),
    [
        ("./berth", "/x/__main__.py", "./berth"),
        (None, "/x/berth/__main__.py", "python -m berth"),
        (None, "{bin}/berth", "berth"),
        (None, "/elsewhere/berth", "/elsewhere/berth"),
    ],
)
def test_printed_command_is_the_one_that_was_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    program: str,
    expected: str,
) -> None:
    (tmp_path / "berth").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BERTH_COMMAND", raising=False)
    if variable:
        monkeypatch.setenv("BERTH_COMMAND", variable)
    monkeypatch.setattr(sys, "argv", [program.format(bin=tmp_path)])
    assert get_command() == expected


@pytest.mark.parametrize(
    "url", ["s3://bucket", "file://~", "file:///x?y=z", "https://api.example.com"]
)
def test_remote_state_is_left_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    assert read_state(tmp_path, "local") is None


_CHECKPOINT = """{"checkpoint": {"latest": {"resources": [
    {"type": "pulumi:pulumi:Stack", "outputs": %s}]}}}"""
_HISTORY = """{"kind": "update", "result": "succeeded", "endTime": 1795622296,
    "config": {"berth:platform": "local"}, "resourceChanges": {"create": 11}}"""
_MARK = "4dabf18193072939515e22adb298388d"


def _write_state(root: Path, outputs: str) -> None:
    (root / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    data = root / ".berth" / "state" / ".pulumi"
    (data / "stacks" / "demo").mkdir(parents=True)
    (data / "stacks" / "demo" / "local.json").write_text(_CHECKPOINT % outputs)
    history = data / "history" / "demo" / "local"
    history.mkdir(parents=True)
    for number in (1, 2):
        (history / f"local-{number}.history.json").write_text(_HISTORY)


def test_recorded_state_has_outputs_without_secrets_and_the_latest_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    secret = f'{{"{_MARK}": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:x"}}'
    _write_state(tmp_path, f'{{"endpoint": "http://e", "api_keys": {secret}}}')
    recorded = read_recorded_state(tmp_path, "local")
    assert recorded.outputs == {"endpoint": "http://e", "api_keys": "[secret]"}
    latest = recorded.latest
    assert (latest.number, latest.succeeded, latest.changes) == (2, True, {"create": 11})
    assert latest.ended == "2026-11-25T15:58:16.000Z"


def test_recorded_update_that_is_not_ready_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    _write_state(tmp_path, '{"endpoint": "http://e"}')
    tags = tmp_path / ".berth" / "state" / ".pulumi" / "stacks" / "demo" / "local.pulumi-tags"
    for number, succeeded in ((1, True), (2, False)):
        tags.write_text(f'{{"version": 1, "tags": {{"berth:unready": "{number}"}}}}')
        assert read_recorded_state(tmp_path, "local").latest.succeeded is succeeded


@pytest.mark.parametrize("outputs", [f'{{"x": {{"{_MARK}": "other"}}}}', "[]", "broken"])
def test_unexpected_state_is_left_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: str
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    _write_state(tmp_path, outputs)
    assert read_state(tmp_path, "local") is None


def test_resources_in_a_compressed_state_are_left_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    _write_state(tmp_path, '{"endpoint": "http://e"}')
    path = tmp_path / ".berth" / "state" / ".pulumi" / "stacks" / "demo" / "local.json"
    assert [each["type"] for each in read_resources(tmp_path, "local") or ()] == [
        "pulumi:pulumi:Stack"
    ]
    assert read_resources(tmp_path, "never-deployed") == []
    path.rename(path.with_suffix(".json.gz"))
    assert read_resources(tmp_path, "local") is None


def test_existence_and_latest_update_of_a_local_stack_are_read_without_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    _write_state(tmp_path, '{"endpoint": "http://e"}')
    no_engine = {"PATH": str(tmp_path)}
    stack = Stack("local", tmp_path, no_engine)
    assert stack.exists()
    assert stack.latest_update().number == 2
    # A stack can be in a file of another form, which only the engine reads.
    with pytest.raises(FileNotFoundError, match="pulumi"):
        Stack("other", tmp_path, no_engine).exists()
