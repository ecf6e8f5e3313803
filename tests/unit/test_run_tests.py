"""`berth test`: which arguments and which environment pytest receives."""

import os
from pathlib import Path

import pytest

from berth.engine import Engine
from berth.operations import testing
from tests.repository import REPOSITORY

TEST = """\
import os

def test_environment():
    with open({log!r}, "a") as log:
        print({name!r}, os.environ["PATH"].split(os.pathsep)[1], file=log)
    assert not [key for key in os.environ if key.startswith("PULUMI_")]
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log to which the tests of a small project write their name and the engine's directory."""
    monkeypatch.setattr(testing, "ensure_engine", lambda _: Engine(tmp_path / "bin", "3.259.0"))
    for name in [key for key in os.environ if key.startswith(("PULUMI_", "PYTEST_"))]:
        monkeypatch.delenv(name)
    log = tmp_path / "log"
    for name in ("aws", "engine", "unit"):
        path = tmp_path / "tests" / name / f"test_{name}.py"
        path.parent.mkdir(parents=True)
        path.write_text(TEST.format(log=str(log), name=name))
    return log


@pytest.mark.slow
def test_tests_receive_the_engine_and_no_pulumi_settings(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert testing.run_tests(log.parent, []) == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {name for name, _ in lines} == {"unit", "engine", "aws"}
    assert {directory for _, directory in lines} == {str(log.parent / "bin")}


def test_named_tests_run_alone(log: Path) -> None:
    assert testing.run_tests(log.parent, ["tests/unit", "tests/aws", "-k", "environment"]) == 0
    assert {line.split()[0] for line in log.read_text().splitlines()} == {"unit", "aws"}


def test_missing_test_is_a_usage_error(log: Path) -> None:
    assert testing.run_tests(log.parent, ["tests/no-such-test"]) == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["-n", "3", "--dist", "loadscope", "--no-loadscope-reorder"]),
        (["--quick"], ["-n", "4", "--dist", "loadscope", "--quick"]),
        (["-k", "x"], ["-n", "3", "--dist", "loadscope", "--no-loadscope-reorder", "-k", "x"]),
        (
            ["--junitxml=/a/b"],
            ["-n", "3", "--dist", "loadscope", "--no-loadscope-reorder", "--junitxml=/a/b"],
        ),
        (["tests/unit"], ["tests/unit"]),
        (["tests/unit/test_docs.py::test_x"], ["tests/unit/test_docs.py::test_x"]),
        (["-n0"], ["-n0"]),
    ],
)
def test_tests_run_in_parallel_unless_named(arguments: list[str], expected: list[str]) -> None:
    assert testing.build_arguments(REPOSITORY, arguments, cpus=2) == expected


def test_number_of_processes_is_limited() -> None:
    assert testing.build_arguments(REPOSITORY, [], cpus=64)[1] == "8"
