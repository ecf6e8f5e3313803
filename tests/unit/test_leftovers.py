"""A run of tests that is interrupted ends what its fixtures no longer can."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pulumi_berth.local.stack_processes import RUN_DIR_VARIABLE
from tests.leftovers import RUN_VARIABLE
from tests.repository import REPOSITORY

_SECONDS = 60
# The other test ends the run while this one waits, so no fixture of it ends its processes.
_TEST = f"""\
import json, os, subprocess, sys, time
from pathlib import Path

def test_waits(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep({_SECONDS})"]
    def start(environment, *arguments):
        return subprocess.Popen(
            [*command, *arguments], env=environment, start_new_session=True
        ).pid
    own = {{"{RUN_DIR_VARIABLE}": str(tmp_path / "stack")}}
    supervisor = start({{}}, "-c", str(tmp_path / "stack" / "supervisord.conf"))
    pids = [start(dict(os.environ)), start(own), supervisor]
    pids_file = Path(__file__).with_name("pids")
    pids_file.with_suffix(".draft").write_text(json.dumps([*pids, os.getpid()]))
    pids_file.with_suffix(".draft").rename(pids_file)
    time.sleep({_SECONDS})
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of another run, with a stack in a directory whose name begins in the same way."""
    run = f"{tmp_path / 'runs'}-2"
    with subprocess.Popen(
        [sys.executable, "-c", "input()"],
        env={RUN_VARIABLE: "another", RUN_DIR_VARIABLE: f"{run}/stack"},
        stdin=subprocess.PIPE,
    ) as process:
        yield process
        process.kill()


def _runs(process: psutil.Process) -> bool:
    """Return whether a process has not ended, although its parent may not know yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_interrupted_run_leaves_no_process(
    number: signal.Signals, tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    (tmp_path / "test_waiting.py").write_text(_TEST)
    command = [sys.executable, "-m", "pytest", "-n1", "-p", "tests.leftovers", "--rootdir=."]
    run = subprocess.Popen(
        [*command, f"--basetemp={tmp_path / 'runs'}", "-c", os.devnull, "test_waiting.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{os.environ['PYTHONPATH']}"},
    )
    file = tmp_path / "pids"
    deadline = time.monotonic() + _SECONDS
    while not file.exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = [psutil.Process(pid) for pid in json.loads(file.read_text())]
    run.send_signal(number)
    assert run.wait(timeout=_SECONDS) == pytest.ExitCode.INTERRUPTED
    assert not [process for process in started if _runs(process)]
    assert stranger.poll() is None
