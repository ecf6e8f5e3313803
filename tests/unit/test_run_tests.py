"""`berth test`: which tests, in which order, in which environment."""

import os
from pathlib import Path

import pytest

from berth.engine import Engine
from berth.operations import testing

TEST = """\
import os, pathlib

def test_environment():
    with open({log!r}, "a") as log:
        print({name!r}, os.environ["PATH"].split(os.pathsep)[1], file=log)
    assert not [key for key in os.environ if key.startswith("PULUMI_")]
    assert {name!r} != "failing"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the tests of a small project write; each notes its name and the engine's folder."""
    monkeypatch.setattr(testing, "ensure_engine", lambda _: Engine(tmp_path / "bin", "3.259.0"))
    for name in [key for key in os.environ if key.startswith("PULUMI_")]:
        monkeypatch.delenv(name)
    found = tmp_path / "log"
    for name in ("aws", "engine", "unit", "failing/deeper"):
        path = tmp_path / "tests" / name / f"test_{name.replace('/', '_')}.py"
        path.parent.mkdir(parents=True)
        path.write_text(TEST.format(log=str(found), name=name.partition("/")[0]))
    (tmp_path / "tests" / "without").mkdir()
    return found


def test_all_of_them_with_the_fast_ones_first(log: Path) -> None:
    assert testing.run_tests(log.parent, []) == 1
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [name for name, _ in lines] == ["unit", "engine", "aws", "failing"]
    assert {folder for _, folder in lines} == {str(log.parent / "bin")}


def test_arguments_are_pytests(log: Path) -> None:
    assert testing.run_tests(log.parent, ["tests/unit", "tests/aws", "-k", "environment"]) == 0
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["unit", "aws"]
    assert testing.run_tests(log.parent, ["no-such-test"]) == pytest.ExitCode.USAGE_ERROR
