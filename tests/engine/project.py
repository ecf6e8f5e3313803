"""A copy of the project in its own directory, operated as a user operates it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import psutil
import urllib3
from ruamel.yaml import YAML

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.stack_processes import RUN_DIR_VARIABLE
from tests.repository import PACKAGES, REPOSITORY

_COPIED_DIRECTORIES = ("models",)
_COPIED_FILES = (
    *("Pulumi.yaml", "Pulumi.local.yaml", "Pulumi.docker.yaml", "Pulumi.dev.yaml"),
    "infra/__main__.py",
)
_COMMAND_SECONDS = 600
_COMMANDS_THAT_CHANGE = ("up", "rollback", "refresh", "destroy")
# The exit status of a command that was rejected before the engine started.
_REJECTED = 2
_COMMANDS_WITHOUT_STACK = ("package", "sign", "test", "data", "parity")
_PASSPHRASE = "a passphrase of this test"
SAVE_STATE_ONCE = {"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
"""Variables with which the engine writes the state at the end of a command, not at each step.

For a stack of 300 resources, the writes take three quarters of the engine's CPU time. Not for tests
that kill an engine (https://github.com/pulumi/pulumi/issues/13502).
"""


@dataclass
class Project:
    """The project in the directory `root`, and the stack that the test operates."""

    root: Path
    stack: str = "local"
    environment: dict[str, str] = field(default_factory=dict)
    _initial_config: str | None = None
    _deployed_config: str | None = None
    _deployed_names: frozenset[str] = frozenset()

    @classmethod
    def copy_to(cls, root: Path, stack: str = "local") -> "Project":
        """Create a project in `root` that uses the installed packages."""
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in _COPIED_DIRECTORIES:
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, root / name, ignore=ignored)
        for name in _COPIED_FILES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, root / name)
        project = cls(root, stack)
        project.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")
        } | {"PYTHONPATH": PACKAGES}
        return project

    @property
    def run_dir(self) -> RunDir:
        return RunDir(self.root / ".berth" / "run" / self.stack)

    @property
    def config_file(self) -> Path:
        return self.root / f"Pulumi.{self.stack}.yaml"

    def ensure_up(self) -> None:
        """Bring the stack up with the configuration of the first call, whatever a test changed.

        Nothing runs if this configuration is deployed and its processes run.
        """
        if self._initial_config is None:
            self._initial_config = self.config_file.read_text()
        is_deployed = self._is_running() and _parse(self._initial_config) == _parse(
            self._deployed_config or ""
        )
        if self.config_file.read_text() != self._initial_config:
            self.config_file.write_text(self._initial_config)
        if not is_deployed:
            self.berth("up", "--yes")
            self._initial_config = self.config_file.read_text()

    def ensure_running(self) -> None:
        """Bring the stack up unless it runs, with any configuration that a test deployed.

        The configuration file is the deployed one.
        """
        if self._deployed_config is None or not self._is_running():
            self.ensure_up()
        else:
            self.config_file.write_text(self._deployed_config)

    def ensure_destroyed(self) -> None:
        """Destroy the stack if it is deployed."""
        if self._deployed_config is not None or self.pids():
            self.berth("destroy", "--yes")

    def deploy(self, change: Callable[[Any], None]) -> None:
        """Change the configuration, and deploy it unless it is the deployed one."""
        self.edit(change)
        if _parse(self.config_file.read_text()) != _parse(self._deployed_config or ""):
            self.berth("up", "--yes")

    def _is_running(self) -> bool:
        return bool(self._deployed_names) and self._deployed_names == self.pids().keys()

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start `berth ARGUMENTS` in the background. Wait for it with `finish`."""
        return subprocess.Popen(
            [sys.executable, "-m", "berth", *arguments, *self._stack_option(arguments)],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def _stack_option(self, arguments: tuple[str, ...]) -> list[str]:
        if self.stack == "local" or "-s" in arguments or arguments[0] in _COMMANDS_WITHOUT_STACK:
            return []
        return ["-s", self.stack]

    def berth(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run `berth ARGUMENTS` and check its exit status."""
        return self.finish(self.start(*arguments), *arguments, code=code)

    def finish(
        self, process: "subprocess.Popen[str]", *arguments: str, code: int = 0
    ) -> "subprocess.CompletedProcess[str]":
        """Wait for `berth ARGUMENTS`, which `start` started, and check its exit status."""
        try:
            stdout, stderr = process.communicate(timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate()
        self._record(arguments, process.returncode)
        assert process.returncode == code, (
            f"berth {' '.join(arguments)}: exit status {process.returncode}, expected {code}\n"
            f"{stdout[-6000:]}\n{stderr[-6000:]}"
        )
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    def _record(self, arguments: tuple[str, ...], code: int) -> None:
        """Record what is deployed after a command."""
        if arguments[0] not in _COMMANDS_THAT_CHANGE or code == _REJECTED:
            return
        self._deployed_config, self._deployed_names = None, frozenset()
        # The program that another commit's rollback deployed differs from the current one.
        if code == 0 and arguments[0] != "destroy" and "--with-program" not in arguments:
            self._deployed_config = self.config_file.read_text()
            self._deployed_names = frozenset(self.pids())

    def pulumi(
        self, *arguments: str, stdin: str = "", code: int | None = 0
    ) -> "subprocess.CompletedProcess[str]":
        """Run `pulumi ARGUMENTS` on the stack in the active Python environment.

        Args:
            code: Expected exit status. None accepts any.
        """
        stack = [] if arguments[:2] == ("stack", "init") else ["--stack", self.stack]
        if arguments[0] in _COMMANDS_THAT_CHANGE:
            self._deployed_config = None
        result = subprocess.run(
            ["pulumi", *arguments, *stack, "--non-interactive"],
            cwd=self.root,
            env=self.environment
            | {
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
                "PULUMI_BACKEND_URL": f"file://{self.root}/.berth/state",
                "PULUMI_CONFIG_PASSPHRASE_FILE": str(self._passphrase_file()),
                "PULUMI_SKIP_UPDATE_CHECK": "true",
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        assert code in (None, result.returncode), f"{result.stdout}\n{result.stderr}"
        return result

    def _passphrase_file(self) -> Path:
        path = self.root / ".berth" / "passphrase"
        if not path.exists():
            (self.root / ".berth" / "state").mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(_PASSPHRASE)
        return path

    def commit(self, message: str) -> None:
        """Commit all files in the project's Git repository."""
        for arguments in (["add", "-A"], ["commit", "-q", "-m", message]):
            subprocess.run(
                ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
                cwd=self.root,
                check=True,
                capture_output=True,
            )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return the output of `berth ARGUMENTS --json`, which is only JSON."""
        return json.loads(self.berth(*arguments, "--json", code=code).stdout)

    def watch(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what `berth watch` reports of the stack, and the sections of its dashboard."""
        snapshot = json.loads(self.berth("watch", "--once", "--json").stdout)
        process = self.start("dashboard", "--port", "0", "--interval", "1")
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()

            def read() -> dict[str, str] | None:
                response = urllib3.request("GET", f"{url}sections.json", timeout=30, retries=False)
                sections: dict[str, str] = response.json()
                return None if "after the next reading" in sections["berths"] else sections

            sections = wait_for(read, seconds=120)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        return snapshot, sections

    def edit(self, change: Callable[[Any], None]) -> None:
        """Change the configuration of the stack, as a user with an editor does."""
        yaml = YAML()
        yaml.width = 1000
        document = yaml.load(self.config_file.read_text())
        change(document["config"])
        with self.config_file.open("w") as stream:
            yaml.dump(document, stream)

    def key(self, client: str = "default") -> str:
        """Return the API key of a client."""
        return self.berth("key", client).stdout.strip()

    def pids(self) -> dict[str, int]:
        """Return the PIDs of the stack's processes by their names in the supervisor."""
        return supervisord.get_pids(self.run_dir)

    def berth_pid(self, model: str, version: str) -> int | None:
        """Return the PID of a berth, or None if it does not run."""
        prefix = f"{model}-{version}-"
        return next((pid for name, pid in self.pids().items() if name.startswith(prefix)), None)

    def find_processes(self) -> list[psutil.Process]:
        """Find every process on the machine that belongs to this stack."""
        processes = []
        for process in psutil.process_iter():
            try:
                run_dir = process.environ().get(RUN_DIR_VARIABLE)
            except psutil.Error:
                continue
            if run_dir == str(self.run_dir.path):
                processes.append(process)
        return processes

    def stop_processes(self) -> None:
        """Stop the processes that a test left running. Only this stack's processes stop.

        A project that is deleted afterwards needs no `berth destroy`.
        """
        supervisord.stop(self.run_dir)


def _parse(text: str) -> Any:
    """Return the configuration in a stack's file, which comments and a salt do not change."""
    return (YAML(typ="safe", pure=True).load(text) or {}).get("config")


def wait_for(condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """Return the first true value of `condition()`. Fail if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"no true value within {seconds} s: {condition}"
        time.sleep(0.05)


class ErrorResponseError(AssertionError):
    """A client received an error response. tests/conftest.py never repeats such a test."""


@dataclass
class Load:
    """Clients that send one request after another, and the responses that they received.

    Args:
        pause_seconds: Time that each client waits after a response. Without it, the clients take
            most of a small machine from what they test.
        ca_file: Path of the root certificates for HTTPS.
    """

    endpoint: str
    headers: dict[str, str]
    path: str
    body: bytes
    pause_seconds: float = 0.02
    ca_file: str | None = None
    statuses: "Counter[str]" = field(default_factory=Counter)
    versions: "Counter[str]" = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def running(self, clients: int = 4) -> Iterator["Load"]:
        """Run the clients during the block."""
        stop = Event()
        with ThreadPoolExecutor(clients) as pool:
            runs = [pool.submit(self._send_requests, stop) for _ in range(clients)]
            try:
                wait_for(lambda: self.total > 0)
                yield self
            finally:
                stop.set()
        for run in runs:
            run.result()

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def assert_no_failures(self) -> None:
        """Check that every response was successful.

        An error response is a defect. A broken connection can be the machine's fault: under load,
        the kernel considers packets invalid (https://github.com/kubernetes/kubernetes/issues/74839).
        """
        failures = {status: n for status, n in self.statuses.items() if status != "200"}
        message = f"{failures} of {self.total} requests failed"
        if any(status.isdigit() for status in failures):
            raise ErrorResponseError(message)
        assert not failures, message

    def _send_requests(self, stop: Event) -> None:
        # urllib3 takes two thirds of the CPU time of httpx.
        url = f"{self.endpoint}{self.path}"
        with urllib3.PoolManager(retries=False, timeout=30, ca_certs=self.ca_file) as client:
            while not stop.wait(self.pause_seconds):
                try:
                    response = client.request("POST", url, body=self.body, headers=self.headers)
                    status, version = str(response.status), response.headers["x-berth-version"]
                except (urllib3.exceptions.HTTPError, KeyError) as error:
                    status, version = f"{type(error).__name__}: {error}", "none"
                with self._lock:
                    self.statuses[status] += 1
                    self.versions[version] += 1
