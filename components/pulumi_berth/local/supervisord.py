"""The process supervisor of one local stack, and what it runs: plain functions, no Pulumi.

Supervisor (supervisord.org) starts the processes, restarts the ones that crash and is the only
one that signals them: it knows its own children, so nothing here ever signals a process by a
remembered pid. Everything goes through its control socket, which lies in the stack's folder.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from pulumi_berth.local.run_dir import RunDir, write_atomically

# What a berth or the gateway may see of the environment that `up` ran in. A list of what passes,
# since that environment also holds the passphrase and cloud credentials.
_ENVIRONMENT_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
_ENVIRONMENT_PASSED_PREFIX = "OTEL_"

# Marks every process of a stack, so that those that outlive a killed supervisor are recognised.
RUN_DIR_VARIABLE = "BERTH_RUN_DIR"

# The states, in supervisor's words, of a process that runs or that supervisor will run again.
ALIVE = frozenset({"RUNNING", "STARTING", "BACKOFF"})

_COMMENT = re.compile(r"\s[#;]|[\r\n]")

_START_SECONDS = 15.0
_POLL_SECONDS = 0.05


class SupervisorError(RuntimeError):
    """The supervisor could not be started or refused what it was asked."""


@dataclass(frozen=True)
class Program:
    """One process to supervise.

    `name` is unique in the stack. `grace_seconds` is how long the process may take to finish
    its requests after SIGTERM; it is killed a little later.
    """

    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    grace_seconds: float


@contextlib.contextmanager
def _control(run_dir: RunDir) -> Iterator[ServerProxy]:
    transport = SupervisorTransport(serverurl=f"unix://{run_dir.socket}")
    proxy = ServerProxy("http://supervisor", transport=transport)
    try:
        yield proxy
    finally:
        transport.close()


def is_running(run_dir: RunDir) -> bool:
    """Whether this stack's own supervisor answers on its socket."""
    try:
        with _control(run_dir) as control:
            return bool(control.supervisor.getIdentification() == _identity(run_dir))
    except (OSError, Fault):
        return False


def start(run_dir: RunDir) -> None:
    """Start the supervisor in the background, with every program that the folder describes.

    Processes that a killed supervisor left behind are ended first, since they hold the ports.

    Raises:
        SupervisorError: it does not answer within some seconds; the message has its last words.
    """
    if is_running(run_dir):
        return
    end_orphans(run_dir)
    write_atomically(run_dir.config, _supervisor_config(run_dir))
    started = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(run_dir.config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_passed_environment(),
        cwd=run_dir.path,
        check=False,
    )
    deadline = time.monotonic() + _START_SECONDS
    while started.returncode == 0 and time.monotonic() < deadline:
        if is_running(run_dir):
            return
        time.sleep(_POLL_SECONDS)
    raise SupervisorError(
        f"the process supervisor did not start in {run_dir.path}: "
        f"{started.stdout.strip() or 'see ' + str(run_dir.path / 'supervisord.log')}"
    )


def stop(run_dir: RunDir) -> None:
    """End the supervisor and everything that it runs, each within its grace; wait for it."""
    with contextlib.suppress(OSError, Fault), _control(run_dir) as control:
        if control.supervisor.getIdentification() == _identity(run_dir):
            process = _supervisor_process(run_dir, int(str(control.supervisor.getPID())))
            # Programs first: a shutdown alone would not wait for their grace one by one.
            control.supervisor.stopAllProcesses()
            control.supervisor.shutdown()
            if process is not None:
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(timeout=_START_SECONDS)
    end_orphans(run_dir)


def add(run_dir: RunDir, program: Program) -> None:
    """Have the supervisor run `program`, now and whenever it starts."""
    write_atomically(run_dir.program(program.name), _program_config(run_dir, program))
    with _control(run_dir) as control:
        control.supervisor.reloadConfig()
        try:
            control.supervisor.addProcessGroup(program.name)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_ADDED:
                raise SupervisorError(f"supervisor refused {program.name}: {fault}") from fault


def remove(run_dir: RunDir, name: str) -> None:
    """End the process `name` within its grace and forget it. One that is gone is no error."""
    run_dir.program(name).unlink(missing_ok=True)
    gone = (Faults.BAD_NAME, Faults.NOT_RUNNING)
    if is_running(run_dir):
        with _control(run_dir) as control:
            for call in (
                control.supervisor.stopProcessGroup,
                control.supervisor.removeProcessGroup,
            ):
                try:
                    call(name)
                except Fault as fault:
                    if fault.faultCode not in gone:
                        raise SupervisorError(f"supervisor refused {name}: {fault}") from fault
    for log in run_dir.logs.glob(f"{name}.log*"):
        log.unlink(missing_ok=True)


def reload(run_dir: RunDir, name: str) -> None:
    """Send SIGHUP to the process `name`."""
    with _control(run_dir) as control:
        try:
            control.supervisor.signalProcess(name, "HUP")
        except Fault as fault:
            raise SupervisorError(f"{name} cannot be told to reload: {fault}") from fault


def states(run_dir: RunDir) -> dict[str, str]:
    """The state of each supervised process, by name, in the supervisor's words (RUNNING,
    STARTING, BACKOFF, STOPPED, EXITED, FATAL …). Empty when the supervisor is not running."""
    if not is_running(run_dir):
        return {}
    with _control(run_dir) as control:
        return {str(i["name"]): str(i["statename"]) for i in _infos(control)}


def is_alive(run_dir: RunDir, name: str) -> bool:
    """Whether the supervisor keeps the process running: it runs, starts, or is started again."""
    return states(run_dir).get(name) in ALIVE


def pids(run_dir: RunDir) -> dict[str, int]:
    """The process id of each supervised process that runs, by name."""
    if not is_running(run_dir):
        return {}
    with _control(run_dir) as control:
        return {str(i["name"]): int(str(i["pid"])) for i in _infos(control) if i["pid"]}


def end_orphans(run_dir: RunDir) -> None:
    """End what a supervisor that was killed left running.

    Such a process is recognised by the mark in its own environment, never by a remembered pid;
    psutil holds a process's start time against its pid before it signals.
    """
    orphans = [p for p in psutil.process_iter() if _is_marked(p, run_dir)]
    for process in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=_START_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_START_SECONDS)


def _infos(control: ServerProxy) -> list[dict[str, object]]:
    return list(control.supervisor.getAllProcessInfo())  # type: ignore[arg-type]


def _is_marked(process: psutil.Process, run_dir: RunDir) -> bool:
    try:
        if process.uids().real != os.getuid():
            return False
        marked: bool = process.environ().get(RUN_DIR_VARIABLE) == str(run_dir.path)
    except (psutil.Error, OSError):
        return False
    return marked


def _supervisor_process(run_dir: RunDir, pid: int) -> psutil.Process | None:
    """The process `pid` if it is this stack's supervisor."""
    try:
        process = psutil.Process(pid)
        ours = str(run_dir.config) in process.cmdline()
    except psutil.Error:
        return None
    return process if ours else None


def _identity(run_dir: RunDir) -> str:
    return f"berth:{run_dir.path}"


def _passed_environment() -> dict[str, str]:
    return {
        key: value
        for key, value in os.environ.items()
        if key in _ENVIRONMENT_PASSED or key.startswith(_ENVIRONMENT_PASSED_PREFIX)
    }


def _supervisor_config(run_dir: RunDir) -> str:
    return f"""\
[supervisord]
identifier={_escaped(_identity(run_dir))}
logfile={_escaped(run_dir.path / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=1
pidfile={_escaped(run_dir.path / "supervisord.pid")}
childlogdir={_escaped(run_dir.logs)}
umask=077

[unix_http_server]
file={_escaped(run_dir.socket)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={run_dir.programs.name}/*.conf
"""


def _program_config(run_dir: RunDir, program: Program) -> str:
    environment = {**program.environment, RUN_DIR_VARIABLE: str(run_dir.path)}
    pairs = ",".join(f"{key}={_value(value)}" for key, value in environment.items())
    return f"""\
[program:{program.name}]
command={_escaped(shlex.join(program.command))}
directory={_escaped(program.directory)}
environment={pairs}
autostart=true
autorestart=true
startsecs=1
startretries=5
stopsignal=TERM
stopwaitsecs={int(program.grace_seconds) + 5}
killasgroup=true
redirect_stderr=true
stdout_logfile={run_dir.log(program.name).relative_to(run_dir.path)}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""


def _escaped(value: object) -> str:
    """A value as supervisor's configuration reads it back: it expands `%(...)s`.

    Raises:
        SupervisorError: a comment begins inside the value, which nothing can quote.
    """
    text = str(value)
    if _COMMENT.search(text):
        raise SupervisorError(
            f"{text!r} cannot be given to the process supervisor: its files take what follows a "
            "space and '#' or ';' for a comment; rename the folder"
        )
    return text.replace("%", "%%")


def _value(value: str) -> str:
    """An environment variable's value; between its quotes, supervisor knows no escapes."""
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise SupervisorError(
            f"{value!r} cannot be given to the process supervisor: it holds both kinds of quotes"
        )
    return f"{quote}{_escaped(value)}{quote}"
