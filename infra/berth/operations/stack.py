"""One stack of the project, driven through the `pulumi` command."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import psutil

from berth.errors import OperationError
from berth.operations import preview_events
from pulumi_berth.files import replace_atomically

# How Pulumi's self-managed backends say who holds a stack's lock.
_LOCK = re.compile(r"created by (?P<user>\S+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")
_SALT = re.compile(r"^encryptionsalt:.*\n?(?:[ \t]+.*\n?)*", re.MULTILINE)
_UPDATES_KEPT = "100000"


@dataclass(frozen=True)
class Update:
    """One entry of a stack's history, oldest is number 1.

    Attributes:
        config: key (`namespace:name`) -> value, structured values as they are in YAML; a secret
            value is its clear text, to be written only through the stack's encryption.
        secrets: the keys whose value is or holds a secret.
        commit: the git commit of the program, where there was one.
        dirty: whether the program had changes that were not committed.
    """

    number: int
    kind: str
    succeeded: bool
    config: Mapping[str, Any]
    secrets: frozenset[str]
    commit: str | None
    dirty: bool
    ended: str
    changes: Mapping[str, int]

    @classmethod
    def parse(cls, number: int, entry: Mapping[str, Any]) -> "Update":
        """From one element of `pulumi stack history --json`."""
        config = entry.get("config", {})
        environment = entry.get("environment", {})
        return cls(
            number=number,
            kind=entry["kind"],
            succeeded=entry["result"] == "succeeded",
            config={
                key: value.get("objectValue", value.get("value")) for key, value in config.items()
            },
            secrets=frozenset(key for key, value in config.items() if value.get("secret")),
            commit=environment.get("git.head"),
            dirty=environment.get("git.dirty") == "true",
            ended=entry.get("endTime", ""),
            changes=entry.get("resourceChanges") or {},
        )


@dataclass(frozen=True)
class Stack:
    """A stack by name, in the project at `root`; `environment` runs the engine.

    `to_stderr` sends what Pulumi says to stderr, so that stdout carries JSON alone; `policy_pack`
    is the folder of the rules that updates and previews are held against.
    """

    name: str
    root: Path
    environment: Mapping[str, str]
    to_stderr: bool = False
    policy_pack: Path | None = None

    @property
    def config_file(self) -> Path:
        return self.root / f"Pulumi.{self.name}.yaml"

    def create(self) -> None:
        """Make the stack in the backend unless it is there; its configuration file is kept."""
        if self.exists():
            self._quiet("stack", "select", self.name)
            return
        self._forget_unused_salt()
        self._quiet("stack", "init", self.name)

    def _forget_unused_salt(self) -> None:
        """Take the salt of another machine's passphrase out of the configuration file.

        Pulumi writes it there for every stack, and refuses a file whose salt belongs to another
        passphrase: a new stack gets a salt of its own. With a secret in the file it is needed.
        """
        text = self.config_file.read_text() if self.config_file.exists() else ""
        if _SALT.search(text) and "secure:" not in text:
            replace_atomically(self.config_file, _SALT.sub("", text), mode=0o644)

    def up(self, *arguments: str) -> int:
        return self._watched("up", *self._policies(), *arguments)

    def preview(self, *arguments: str) -> int:
        return self._watched("preview", *self._policies(), *arguments)

    def preview_json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """What `up` would change: the engine's exit code, and what `preview_events.found` tells."""
        streamed = replace(self, environment={**self.environment, **preview_events.STREAMED})
        code, output = streamed._captured(
            "preview", "--json", *self._policies(), *arguments, "--stack", self.name
        )
        return code, preview_events.found(x for x in output.splitlines() if x.startswith("{"))

    def destroy(self, *arguments: str) -> int:
        return self._watched("destroy", *arguments)

    def exists(self) -> bool:
        """Whether the backend knows the stack."""
        stacks = json.loads(self._quiet("stack", "ls", "--json"))
        return any(entry["name"].split("/")[-1] == self.name for entry in stacks)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in clear: for use, never for show."""
        found: dict[str, Any] = json.loads(
            self._quiet("stack", "output", "--json", "--show-secrets", "--stack", self.name)
        )
        return found

    def config(self) -> dict[str, Any]:
        """The values of the configuration file, secrets in clear: for use, never for show."""
        found = json.loads(
            self._quiet("config", "--json", "--show-secrets", "--stack", self.name) or "{}"
        )
        return {key: entry.get("objectValue", entry.get("value")) for key, entry in found.items()}

    def set_secret(self, path: str, value: str, *, config_file: Path) -> None:
        """Encrypt `value` into `config_file`. It goes through a pipe: arguments can be seen."""
        self._quiet(
            *("config", "set", "--secret", "--path", path),
            *("--config-file", str(config_file), "--stack", self.name),
            stdin=value,
        )

    def history(self, *, show_secrets: bool = False) -> list[Update]:
        """Every update, oldest first."""
        arguments = ["stack", "history", "--json", "--stack", self.name]
        arguments += ["--page-size", _UPDATES_KEPT, "--page", "1"]
        if show_secrets:
            arguments.append("--show-secrets")
        entries = json.loads(self._quiet(*arguments) or "[]")
        return [Update.parse(n, entry) for n, entry in enumerate(reversed(entries), start=1)]

    def _policies(self) -> list[str]:
        return [] if self.policy_pack is None else ["--policy-pack", str(self.policy_pack)]

    def _watched(self, *arguments: str) -> int:
        """Run with Pulumi's own progress shown; a lock that a dead process left is removed."""
        code, errors = self._run(arguments)
        lock = _LOCK.search(errors)
        if code and lock:
            if not _is_stale(lock):
                raise OperationError(
                    f"stack {self.name}: another operation holds it, started by "
                    f"{lock['user']}@{lock['host']} (process {lock['pid']}) at {lock['since']}; "
                    "nothing was changed: wait for it to end"
                )
            print(
                f"stack {self.name}: the lock is of process {lock['pid']}, which has ended; "
                "removing it and going on",
                file=sys.stderr,
            )
            self._quiet("cancel", "--yes", "--stack", self.name)
            code, _ = self._run(arguments)
        return code

    def _run(self, arguments: Sequence[str]) -> tuple[int, str]:
        process = subprocess.Popen(
            ["pulumi", *arguments, "--stack", self.name],
            cwd=self.root,
            env=dict(self.environment),
            stdout=sys.stderr if self.to_stderr else None,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stderr is not None
            try:
                errors = _tee(process.stderr, sys.stderr)
            except KeyboardInterrupt:
                # Pulumi got the same signal: it ends what it is doing, and records it.
                errors = _tee(process.stderr, sys.stderr)
        return process.returncode, errors

    def _quiet(self, *arguments: str, stdin: str = "") -> str:
        code, output = self._captured(*arguments, "--non-interactive", stdin=stdin)
        if code:
            raise OperationError(f"pulumi {' '.join(arguments[:2])}: failed")
        return output

    def _captured(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        finished = subprocess.run(
            ["pulumi", *arguments],
            cwd=self.root,
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if "incorrect passphrase" in finished.stderr:
            raise OperationError(
                f"{self.config_file.name} was encrypted with another passphrase: give that one in "
                "PULUMI_CONFIG_PASSPHRASE, or put it into .berth/passphrase"
            )
        if finished.returncode and not finished.stdout:
            raise OperationError(f"pulumi {' '.join(arguments[:2])}: {finished.stderr.strip()}")
        return finished.returncode, finished.stdout


def _tee(source: IO[str], sink: IO[str]) -> str:
    lines = []
    for line in source:
        sink.write(line)
        sink.flush()
        lines.append(line)
    return "".join(lines)


def _is_stale(lock: re.Match[str]) -> bool:
    """Whether the process that took the lock on this machine has ended."""
    if lock["host"] != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(lock["pid"]))
        taken = datetime.fromisoformat(lock["since"]).timestamp()
        # A process that started after the lock was taken has only inherited the number.
        return process.create_time() > taken + 1
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
