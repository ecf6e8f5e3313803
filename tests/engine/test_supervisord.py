"""The supervisor of a local stack: what it signals, restarts and forgets."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    found = RunDir(tmp_path / "run %with odd' name")
    found.create()
    supervisord.start(found)
    yield found
    supervisord.stop(found)


def _program(run_dir: RunDir, code: str = SLEEP, **environment: str) -> supervisord.Program:
    return supervisord.Program(
        name="sleeper",
        command=[sys.executable, "-c", code],
        directory=run_dir.path,
        environment=environment,
        grace_seconds=5,
    )


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_environment_reaches_the_process_to_the_letter(run_dir: RunDir) -> None:
    value = 'a "quoted", 100 % \\odd\\ value;#'
    code = "import os,time; open('seen','w').write(os.environ['VALUE']); time.sleep(600)"
    supervisord.add(run_dir, _program(run_dir, code, VALUE=value))
    seen = run_dir.path / "seen"
    _until(lambda: seen.exists() and seen.read_text() != "")
    assert seen.read_text() == value


def test_what_its_files_cannot_say_is_refused(run_dir: RunDir) -> None:
    with pytest.raises(supervisord.SupervisorError, match="rename the folder"):
        supervisord.add(run_dir, _program(run_dir, VALUE="/home/me/models #2"))
    with pytest.raises(supervisord.SupervisorError, match="quotes"):
        supervisord.add(run_dir, _program(run_dir, VALUE='it\'s "both"'))


def test_process_that_dies_is_started_again(run_dir: RunDir) -> None:
    supervisord.add(run_dir, _program(run_dir))
    _until(lambda: supervisord.states(run_dir).get("sleeper") == "RUNNING")
    first = supervisord.pids(run_dir)["sleeper"]
    os.kill(first, 9)
    _until(lambda: supervisord.pids(run_dir).get("sleeper", first) != first)


def test_removed_process_is_gone_with_its_files(run_dir: RunDir) -> None:
    supervisord.add(run_dir, _program(run_dir))
    _until(lambda: supervisord.states(run_dir).get("sleeper") == "RUNNING")
    supervisord.remove(run_dir, "sleeper")
    assert supervisord.states(run_dir) == {}
    assert not run_dir.program("sleeper").exists()
    assert not run_dir.log("sleeper").exists()
    supervisord.remove(run_dir, "sleeper")


def test_stop_ends_marked_processes_and_no_others(run_dir: RunDir) -> None:
    mark = supervisord.RUN_DIR_VARIABLE
    command = [sys.executable, "-c", SLEEP]
    orphan = subprocess.Popen(command, env={**os.environ, mark: str(run_dir.path)})
    stranger = subprocess.Popen(command, env={**os.environ, mark: f"{run_dir.path}-2"})
    try:
        # Not before the program runs is its environment its own.
        _until(lambda: _environment(orphan.pid) and _environment(stranger.pid))
        supervisord.stop(run_dir)
        orphan.wait(timeout=10)
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


def _environment(pid: int) -> bool:
    return supervisord.RUN_DIR_VARIABLE in psutil.Process(pid).environ()


def test_start_twice_is_one_supervisor(run_dir: RunDir) -> None:
    pid = (run_dir.path / "supervisord.pid").read_text()
    supervisord.start(run_dir)
    assert (run_dir.path / "supervisord.pid").read_text() == pid


def test_long_paths_still_have_a_socket(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / ("long" * 40))
    run_dir.create()
    try:
        supervisord.start(run_dir)
        assert supervisord.is_running(run_dir)
    finally:
        supervisord.stop(run_dir)
        run_dir.remove()
    assert not run_dir.socket.exists()
