"""A copy of the project in a folder of its own, driven as a user drives it."""

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

import httpx
import psutil
from ruamel.yaml import YAML

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir
from tests.repository import PACKAGES, REPOSITORY

_COPIED = ("models",)
_COPIED_FILES = ("Pulumi.yaml", "Pulumi.local.yaml", "Pulumi.dev.yaml", "infra/__main__.py")
_COMMAND_SECONDS = 600
_WITHOUT_STACK = ("package", "test", "data", "parity")


@dataclass
class Project:
    """The project under `root`, and the stack of it that is worked with."""

    root: Path
    stack: str = "local"
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def copy_to(cls, root: Path, stack: str = "local") -> "Project":
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in _COPIED:
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

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """`berth ARGUMENTS`, in the background."""
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
        named = self.stack == "local" or "-s" in arguments or arguments[0] in _WITHOUT_STACK
        return [] if named else ["-s", self.stack]

    def berth(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """`berth ARGUMENTS`, expected to exit with `code`."""
        process = self.start(*arguments)
        try:
            stdout, stderr = process.communicate(timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate()
        assert process.returncode == code, (
            f"berth {' '.join(arguments)}: exit {process.returncode}, expected {code}\n"
            f"{stdout[-6000:]}\n{stderr[-6000:]}"
        )
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    def pulumi(
        self, *arguments: str, stdin: str = "", code: int | None = 0
    ) -> "subprocess.CompletedProcess[str]":
        """`pulumi ARGUMENTS` on the stack, as a user types it; `code` None takes any."""
        stack = [] if arguments[:2] == ("stack", "init") else ["--stack", self.stack]
        finished = subprocess.run(
            ["pulumi", *arguments, *stack, "--non-interactive"],
            cwd=self.root,
            env=self.environment
            | {
                "PULUMI_BACKEND_URL": f"file://{self.root}/.berth/state",
                "PULUMI_CONFIG_PASSPHRASE_FILE": str(self._passphrase()),
                "PULUMI_SKIP_UPDATE_CHECK": "true",
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        assert code in (None, finished.returncode), f"{finished.stdout}\n{finished.stderr}"
        return finished

    def _passphrase(self) -> Path:
        path = self.root / ".berth" / "passphrase"
        if not path.exists():
            (self.root / ".berth" / "state").mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text("a passphrase of this test")
        return path

    def commit(self, message: str) -> None:
        """Commit everything, in the project's own repository."""
        for arguments in (["add", "-A"], ["commit", "-q", "-m", message]):
            subprocess.run(
                ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
                cwd=self.root,
                check=True,
                capture_output=True,
            )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What `berth ARGUMENTS --json` prints, which is JSON and nothing else."""
        return json.loads(self.berth(*arguments, "--json", code=code).stdout)

    def edit(self, change: Callable[[Any], None]) -> None:
        """Change the configuration of the stack, as a person with an editor does."""
        path = self.root / f"Pulumi.{self.stack}.yaml"
        yaml = YAML()
        yaml.width = 1000
        document = yaml.load(path.read_text())
        change(document["config"])
        with path.open("w") as stream:
            yaml.dump(document, stream)

    def key(self, client: str = "default") -> str:
        return self.berth("key", client).stdout.strip()

    def pids(self) -> dict[str, int]:
        """The processes of the stack, by supervisor name."""
        return supervisord.pids(self.run_dir)

    def berth_pid(self, model: str, version: str) -> int | None:
        prefix = f"{model}-{version}-"
        return next((pid for name, pid in self.pids().items() if name.startswith(prefix)), None)

    def marked(self) -> list[psutil.Process]:
        """Every process on the machine that carries this stack's mark."""
        found = []
        for process in psutil.process_iter():
            try:
                mark = process.environ().get(supervisord.RUN_DIR_VARIABLE)
            except psutil.Error:
                continue
            if mark == str(self.run_dir.path):
                found.append(process)
        return found

    def clean_up(self) -> None:
        """Whatever a test left: the stack's own processes end, by identity."""
        supervisord.stop(self.run_dir)


def eventually(condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """The first true value of `condition()`, polled; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.05)


class ErrorAnsweredError(AssertionError):
    """A defect however seldom it is: tests/conftest.py gives it no second try."""


@dataclass
class Load:
    """Clients that ask without pause; what they were answered."""

    endpoint: str
    headers: dict[str, str]
    path: str
    body: bytes
    statuses: "Counter[str]" = field(default_factory=Counter)
    versions: "Counter[str]" = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def running(self, clients: int = 4) -> Iterator["Load"]:
        """Bounded by the block: the clients end with it."""
        stop = Event()
        with ThreadPoolExecutor(clients) as pool:
            asking = [pool.submit(self._ask, stop) for _ in range(clients)]
            try:
                eventually(lambda: self.total > 0)
                yield self
            finally:
                stop.set()
        for asked in asking:
            asked.result()

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def expect_none_lost(self) -> None:
        """Of a connection that breaks the reason may be the machine's: under load its kernel takes
        packets for invalid (https://github.com/kubernetes/kubernetes/issues/74839)."""
        lost = {status: n for status, n in self.statuses.items() if status != "200"}
        if any(status.isdigit() for status in lost):
            raise ErrorAnsweredError(f"of {self.total} requests: {lost}")
        assert not lost, f"of {self.total} requests: {lost}"

    def _ask(self, stop: Event) -> None:
        with httpx.Client(base_url=self.endpoint, headers=self.headers, timeout=30) as client:
            while not stop.is_set():
                try:
                    response = client.post(self.path, content=self.body)
                    status, version = str(response.status_code), response.headers["x-berth-version"]
                except (httpx.HTTPError, KeyError) as error:
                    status, version = f"{type(error).__name__}: {error}", "none"
                with self._lock:
                    self.statuses[status] += 1
                    self.versions[version] += 1
