"""The process supervisor of a local stack: what it starts, restarts, signals and removes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.stack_processes import RUN_DIR_VARIABLE
from tests.engine.project import wait_for

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    run_dir = RunDir(tmp_path / "run %with odd' name")
    run_dir.create()
    supervisord.start(run_dir)
    yield run_dir
    supervisord.stop(run_dir)


def _program(run_dir: RunDir, code: str = SLEEP, **environment: str) -> supervisord.Program:
    return supervisord.Program(
        name="sleeper",
        command=[sys.executable, "-c", code],
        directory=run_dir.path,
        environment=environment,
        grace_seconds=5,
    )


def _wait_until_running(run_dir: RunDir) -> None:
    wait_for(lambda: supervisord.get_states(run_dir).get("sleeper") == "RUNNING")


def test_environment_value_reaches_the_process_unchanged(run_dir: RunDir) -> None:
    value = 'a "quoted", 100 % \\odd\\ value;#'
    code = "import os,time; open('seen','w').write(os.environ['VALUE']); time.sleep(600)"
    supervisord.add(run_dir, _program(run_dir, code, VALUE=value))
    seen = run_dir.path / "seen"
    wait_for(lambda: seen.exists() and seen.read_text() != "")
    assert seen.read_text() == value


def test_value_that_the_configuration_cannot_express_is_rejected(run_dir: RunDir) -> None:
    with pytest.raises(supervisord.SupervisorError, match="Rename the directory"):
        supervisord.add(run_dir, _program(run_dir, VALUE="/home/me/models #2"))
    with pytest.raises(supervisord.SupervisorError, match="both kinds of quotes"):
        supervisord.add(run_dir, _program(run_dir, VALUE='it\'s "both"'))


def test_killed_process_is_restarted(run_dir: RunDir) -> None:
    supervisord.add(run_dir, _program(run_dir))
    _wait_until_running(run_dir)
    first = supervisord.get_pids(run_dir)["sleeper"]
    os.kill(first, 9)
    wait_for(lambda: supervisord.get_pids(run_dir).get("sleeper", first) != first)


def test_removed_process_leaves_no_files(run_dir: RunDir) -> None:
    supervisord.add(run_dir, _program(run_dir))
    _wait_until_running(run_dir)
    supervisord.remove(run_dir, "sleeper")
    assert supervisord.get_states(run_dir) == {}
    assert not run_dir.program("sleeper").exists()
    assert not run_dir.log("sleeper").exists()
    supervisord.remove(run_dir, "sleeper")


def test_stop_ends_only_processes_of_the_stack(run_dir: RunDir) -> None:
    variable = RUN_DIR_VARIABLE
    command = [sys.executable, "-c", SLEEP]
    orphan = subprocess.Popen(command, env={**os.environ, variable: str(run_dir.path)})
    stranger = subprocess.Popen(command, env={**os.environ, variable: f"{run_dir.path}-2"})
    try:
        # A new process has its parent's environment until it executes the program.
        wait_for(lambda: _has_variable(orphan.pid) and _has_variable(stranger.pid))
        supervisord.stop(run_dir)
        orphan.wait(timeout=10)
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


def _has_variable(pid: int) -> bool:
    return RUN_DIR_VARIABLE in psutil.Process(pid).environ()


def test_second_start_keeps_the_running_supervisor(run_dir: RunDir) -> None:
    pid = (run_dir.path / "supervisord.pid").read_text()
    supervisord.start(run_dir)
    assert (run_dir.path / "supervisord.pid").read_text() == pid


def test_run_directory_with_long_path_has_a_socket(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / ("long" * 40))
    run_dir.create()
    try:
        supervisord.start(run_dir)
        assert supervisord.is_running(run_dir)
    finally:
        supervisord.stop(run_dir)
        run_dir.remove()
    assert not run_dir.socket.exists()
