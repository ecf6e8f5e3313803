"""The process supervisor of one local stack: plain functions, no Pulumi.

Supervisor (supervisord.org) starts the processes and restarts those that crash. Only supervisor
signals them, because it knows its own children: this module never signals a process by a stored
PID. It controls supervisor through the control socket in the stack's run directory.
"""

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from xmlrpc.client import Fault, ServerProxy, Transport

import psutil

from pulumi_berth.files import replace_atomically
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.stack_processes import (
    PROCESS_VARIABLE,
    RUN_DIR_VARIABLE,
    end_processes,
    find_orphans,
)

# The variables that a berth or the gateway inherits. This is an allowlist because the environment
# of `up` also contains the passphrase and cloud credentials.
_INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
_INHERITED_PREFIX = "OTEL_"

ALIVE_STATES = frozenset({"RUNNING", "STARTING", "BACKOFF"})
"""Supervisor's states of a process that runs or that supervisor starts again."""

_COMMENT = re.compile(r"\s[#;]|[\r\n]")

_START_SECONDS = 15.0
_RESPONSE_SECONDS = 5.0
# Stopping takes up to the grace period, whose maximum in the specification is one hour.
_STOP_SECONDS = 3700.0
_POLL_SECONDS = 0.05


class SupervisorError(RuntimeError):
    """The supervisor did not start or rejected a request."""


@dataclass(frozen=True)
class Program:
    """A process to supervise.

    Attributes:
        name: Unique name in the stack.
        grace_seconds: Time to finish requests after SIGTERM. Supervisor kills the process 5 s
            later.
    """

    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    grace_seconds: float


class _Connection(HTTPConnection):
    """A connection to the control socket with a time limit, which supervisor's own lacks."""

    def __init__(self, run_dir: RunDir, seconds: float) -> None:
        super().__init__("supervisor", timeout=seconds)
        self._path = str(run_dir.socket)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(Transport):
    """Calls methods through one connection. Supervisor's own class would load all of supervisor."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__()
        self._only = connection

    def make_connection(self, host: object) -> HTTPConnection:  # noqa: ARG002 - only one
        self._connection = (None, self._only)  # For `close`.
        return self._only


@contextlib.contextmanager
def _control(run_dir: RunDir, *, seconds: float | None = None) -> Iterator[ServerProxy]:
    """Provide the supervisor's methods.

    Args:
        seconds: Time limit for each response. Defaults to 5 s. Stopping a process takes up to its
            grace period.

    Raises:
        SupervisorError: If the supervisor does not respond in time.
        OSError: If no supervisor listens on the control socket.
    """
    limit = _RESPONSE_SECONDS if seconds is None else seconds
    transport = _Transport(_Connection(run_dir, limit))
    proxy = ServerProxy("http://supervisor", transport=transport)
    try:
        yield proxy
    except TimeoutError as error:
        raise SupervisorError(
            f"The process supervisor of {run_dir.path} did not respond within {limit:g} s. If it "
            "is suspended, let it continue; otherwise kill it and run 'berth up'."
        ) from error
    finally:
        transport.close()


def is_running(run_dir: RunDir) -> bool:
    """Check whether this stack's supervisor responds on its control socket."""
    try:
        with _control(run_dir) as control:
            return bool(control.supervisor.getIdentification() == _identity(run_dir))
    except (OSError, Fault):
        return False


def start(run_dir: RunDir) -> None:
    """Start the supervisor in the background with every program in the run directory.

    The processes that a killed supervisor left keep serving. Their programs are removed, so that
    the caller can start others next to them and then end them.

    Raises:
        SupervisorError: If the supervisor does not respond within 15 s.
    """
    if is_running(run_dir):
        return
    orphans = find_orphans(run_dir, None)
    # An older version of Berth started these processes without a program name.
    end_processes([process for process, name in orphans.items() if not name])
    for name in filter(None, orphans.values()):
        run_dir.program(name).unlink(missing_ok=True)
    replace_atomically(run_dir.config, _supervisor_config(run_dir))
    result = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(run_dir.config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_inherited_environment(),
        cwd=run_dir.path,
        timeout=_START_SECONDS,
        check=False,
    )
    deadline = time.monotonic() + _START_SECONDS
    while result.returncode == 0 and time.monotonic() < deadline:
        if is_running(run_dir):
            return
        time.sleep(_POLL_SECONDS)
    raise SupervisorError(
        f"The process supervisor did not start in {run_dir.path}: "
        f"{result.stdout.strip() or 'see ' + str(run_dir.path / 'supervisord.log')}"
    )


def stop(run_dir: RunDir) -> None:
    """Stop the supervisor and its processes, each within its grace period, and wait for them."""
    with contextlib.suppress(OSError, Fault), _control(run_dir, seconds=_STOP_SECONDS) as control:
        if control.supervisor.getIdentification() == _identity(run_dir):
            process = _supervisor_process(run_dir, int(str(control.supervisor.getPID())))
            # Stop the programs first: a shutdown does not wait for the grace period of each.
            control.supervisor.stopAllProcesses()
            control.supervisor.shutdown()
            if process is not None:
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(timeout=_START_SECONDS)
    end_orphans(run_dir)


def add(run_dir: RunDir, program: Program) -> None:
    """Run `program` under the supervisor, now and after each start of the supervisor."""
    replace_atomically(run_dir.program(program.name), _program_config(run_dir, program))
    with _control(run_dir) as control:
        control.supervisor.reloadConfig()
        try:
            control.supervisor.addProcessGroup(program.name)
        except Fault as fault:
            if not _is_fault(fault, "ALREADY_ADDED"):
                raise SupervisorError(
                    f"The process supervisor rejected program {program.name}: {fault}"
                ) from fault


def remove(run_dir: RunDir, name: str) -> None:
    """Stop the process `name` within its grace period and remove it. It need not exist."""
    run_dir.program(name).unlink(missing_ok=True)
    if is_running(run_dir):
        with _control(run_dir, seconds=_STOP_SECONDS) as control:
            for call in (
                control.supervisor.stopProcessGroup,
                control.supervisor.removeProcessGroup,
            ):
                try:
                    call(name)
                except Fault as fault:
                    if not _is_fault(fault, "BAD_NAME", "NOT_RUNNING"):
                        raise SupervisorError(
                            f"The process supervisor could not remove {name}: {fault}"
                        ) from fault
    end_orphans(run_dir, name)
    for log in run_dir.logs.glob(f"{name}.log*"):
        log.unlink(missing_ok=True)


def reload(run_dir: RunDir, name: str) -> None:
    """Send SIGHUP to the process `name`."""
    with _control(run_dir) as control:
        try:
            control.supervisor.signalProcess(name, "HUP")
        except Fault as fault:
            raise SupervisorError(f"Could not send SIGHUP to {name}: {fault}") from fault


def get_states(run_dir: RunDir) -> dict[str, str]:
    """Return the state of each supervised process by name.

    The states are supervisor's: RUNNING, STARTING, BACKOFF, STOPPED, EXITED, FATAL and others.
    The result is empty if the supervisor does not run.
    """
    return {name: state for name, (state, _) in get_runs(run_dir).items()}


def get_runs(run_dir: RunDir) -> dict[str, tuple[str, int]]:
    """Return the state (see `get_states`) and the PID of each process by name.

    The PID is 0 if the process does not run.
    """
    if not is_running(run_dir):
        return {}
    with _control(run_dir) as control:
        return {str(i["name"]): (str(i["statename"]), int(str(i["pid"]))) for i in _infos(control)}


def is_alive(run_dir: RunDir, name: str) -> bool:
    """Check whether the process runs, starts, or is about to be started again."""
    return get_states(run_dir).get(name) in ALIVE_STATES


def get_pids(run_dir: RunDir) -> dict[str, int]:
    """Return the PID of each running supervised process by name."""
    return {name: pid for name, (_, pid) in get_runs(run_dir).items() if pid}


def get_orphans(run_dir: RunDir) -> set[str]:
    """Return the names of the processes that a killed supervisor left running."""
    return {name for name in find_orphans(run_dir, _get_pid(run_dir)).values() if name}


def end_orphans(run_dir: RunDir, name: str | None = None) -> None:
    """End the processes that a killed supervisor left running, or only those of `name`."""
    orphans = find_orphans(run_dir, _get_pid(run_dir))
    end_processes([process for process, each in orphans.items() if name in (None, each)])


def is_declared(run_dir: RunDir, name: str, environment: Mapping[str, str]) -> bool:
    """Check whether the program and the running process `name` have these variables."""
    try:
        text = run_dir.program(name).read_text()
    except OSError:
        return False
    if any(f"{key}={_quote(value)}" not in text for key, value in environment.items()):
        return False
    pid = get_pids(run_dir).get(name)
    try:
        actual = psutil.Process(pid).environ() if pid is not None else dict(environment)
    except psutil.Error:
        return True  # It has just ended, and the supervisor starts it again.
    return all(actual.get(key) == value for key, value in environment.items())


def _get_pid(run_dir: RunDir) -> int | None:
    """Return the PID of the running supervisor, or None if it does not run."""
    if not is_running(run_dir):
        return None
    with _control(run_dir) as control:
        return int(str(control.supervisor.getPID()))


def _is_fault(fault: Fault, *names: str) -> bool:
    from supervisor.xmlrpc import Faults

    return fault.faultCode in [getattr(Faults, name) for name in names]


def _infos(control: ServerProxy) -> list[dict[str, object]]:
    return list(control.supervisor.getAllProcessInfo())  # type: ignore[arg-type]


def _supervisor_process(run_dir: RunDir, pid: int) -> psutil.Process | None:
    """Return the process `pid` if it is this stack's supervisor."""
    try:
        process = psutil.Process(pid)
        is_supervisor = str(run_dir.config) in process.cmdline()
    except psutil.Error:
        return None
    return process if is_supervisor else None


def _identity(run_dir: RunDir) -> str:
    return f"berth:{run_dir.path}"


def _inherited_environment() -> dict[str, str]:
    return {
        key: value
        for key, value in os.environ.items()
        if key in _INHERITED_VARIABLES or key.startswith(_INHERITED_PREFIX)
    }


def _supervisor_config(run_dir: RunDir) -> str:
    return f"""\
[supervisord]
identifier={_escape(_identity(run_dir))}
logfile={_escape(run_dir.path / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=1
pidfile={_escape(run_dir.path / "supervisord.pid")}
childlogdir={_escape(run_dir.logs)}
umask=077

[unix_http_server]
file={_escape(run_dir.socket)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={run_dir.programs.name}/*.conf
"""


def _program_config(run_dir: RunDir, program: Program) -> str:
    environment = {
        **program.environment,
        RUN_DIR_VARIABLE: str(run_dir.path),
        PROCESS_VARIABLE: program.name,
    }
    pairs = ",".join(f"{key}={_quote(value)}" for key, value in environment.items())
    return f"""\
[program:{program.name}]
command={_escape(shlex.join(program.command))}
directory={_escape(program.directory)}
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


def _escape(value: object) -> str:
    """Escape a value for supervisor's configuration, which expands `%(...)s`.

    Raises:
        SupervisorError: If the value contains the start of a comment, which cannot be quoted.
    """
    text = str(value)
    if _COMMENT.search(text):
        raise SupervisorError(
            f"The process supervisor cannot use the value {text!r}: a space and '#' or ';' start a "
            "comment in its configuration. Rename the directory."
        )
    return text.replace("%", "%%")


def _quote(value: str) -> str:
    """Quote the value of an environment variable. Supervisor has no escapes in quotes."""
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise SupervisorError(
            f"The process supervisor cannot use the value {value!r}: it contains both kinds of "
            "quotes. Remove one kind."
        )
    return f"{quote}{_escape(value)}{quote}"
