"""One stack of the project, operated through the `pulumi` command."""

import json
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.drift import Drift, parse_drift
from berth.operations.engine_lock import find_locks, forget_process, is_stale
from berth.operations.engine_process import Engine
from berth.operations.forget import forget_resources
from berth.operations.preview_events import STREAM_EVENTS, summarize_events
from berth.operations.stack_config import StackConfig
from berth.operations.state_file import (
    NeverDeployedError,
    has_state_file,
    is_selected,
    list_resources,
    read_state,
    read_tags,
)
from berth.operations.state_providers import check_providers
from berth.operations.update import UNREADY_TAG, Update, parse_unready
from berth.operations.update_watch import FindHopeless
from pulumi_berth.files import replace_atomically

_UNKNOWN_STACK = "no stack named"
_UPDATES_KEPT = "100000"
# A tag's value has at most 256 characters: pkg/backend/httpstate of Pulumi.
_UNREADY_KEPT = 25
# For commands that read or write only the state.
_QUIET_SECONDS = 120.0


@dataclass(frozen=True)
class Stack:
    """A stack of the project at `root`.

    Attributes:
        name: The stack's name.
        root: The project's directory.
        environment: Environment variables of the engine.
        to_stderr: Whether to send Pulumi's progress to stderr, so that stdout has only JSON.
        policy_pack: Directory of the rules that check updates and previews, if any.
        program: Directory of the program to run, if it is not `root`.
        find_hopeless: Called every few seconds during an update; see `update_watch`.
    """

    name: str
    root: Path
    environment: Mapping[str, str]
    to_stderr: bool = False
    policy_pack: Path | None = None
    program: Path | None = None
    find_hopeless: FindHopeless | None = None

    @property
    def config_file(self) -> Path:
        """The configuration file that the user tracks."""
        return self._config.tracked

    def engine_config_file(self) -> Path:
        """Return the configuration file that the engine reads (see `stack_config`)."""
        return self._config.prepare()

    @property
    def _config(self) -> StackConfig:
        return StackConfig(self.root, self.name)

    def create(self) -> None:
        """Create the stack in the backend if it does not exist, and select it."""
        if not self.exists():
            directory = self._config.prepare_new()
            self._run_quietly("--cwd", str(directory), "stack", "init", self.name)
        if not is_selected(self.root, self.name, self.environment):
            self._run_quietly("stack", "select", self.name)

    def up(self, *arguments: str) -> int:
        """Run `pulumi up` and return its exit code."""
        return self._run_with_progress("up", *self._policies(), *self._with_config(arguments))

    def preview(self, *arguments: str) -> int:
        """Run `pulumi preview` and return its exit code."""
        return self._run_with_progress("preview", *self._policies(), *self._with_config(arguments))

    def preview_json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Return the exit code of a preview, and its summary (see `preview_events`)."""
        code, lines = self.preview_events(*arguments)
        return code, summarize_events(lines)

    def preview_events(self, *arguments: str) -> tuple[int, list[str]]:
        """Return the exit code of a preview, and its events: one JSON document a line."""
        self._check_providers()
        streamed = replace(self, environment={**self.environment, **STREAM_EVENTS})
        code, output = streamed._engine.capture(
            None,
            [
                *("preview", "--json", *self._policies(), *self._with_config(arguments)),
                *("--stack", self.name),
            ],
        )
        return min(abs(code), 1), [x for x in output.splitlines() if x.startswith("{")]

    def refresh(self, *arguments: str) -> int:
        """Run `pulumi refresh` and return its exit code."""
        return self._run_with_progress("refresh", *self._with_config(arguments))

    def find_drift(self, *arguments: str) -> list[Drift]:
        """Return what differs from the last update, without changing the state.

        Raises:
            OperationError: If the engine cannot read a resource.
        """
        self._check_providers()
        streamed = replace(self, environment={**self.environment, **STREAM_EVENTS})
        code, output = streamed._engine.capture(
            None,
            [
                *("refresh", "--preview-only", "--json", "--non-interactive"),
                *(*self._with_config(arguments), "--stack", self.name),
            ],
        )
        events = [line for line in output.splitlines() if line.startswith("{")]
        if code:
            errors = "; ".join(summarize_events(events)["errors"]) or "the engine failed"
            raise OperationError(f"Could not read the resources of stack '{self.name}': {errors}")
        return parse_drift(events)

    def destroy(self, *arguments: str) -> int:
        """Run `pulumi destroy` and return its exit code."""
        return self._run_with_progress("destroy", *self._with_config(arguments))

    def exists(self) -> bool:
        """Return whether the backend contains the stack."""
        if has_state_file(self.root, self.name):
            return True
        stacks = json.loads(self._run_quietly("stack", "ls", "--json"))
        return any(entry["name"].split("/")[-1] == self.name for entry in stacks)

    def require_deployed(self) -> None:
        """Raise NeverDeployedError if the backend does not contain the stack."""
        if not self.exists():
            raise NeverDeployedError(self.name)

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs with secrets in plaintext, which must not be printed.

        One call of the engine: decrypting in Python would not be faster, because deriving the key
        from the passphrase takes most of the time in both.

        Raises:
            OperationError: If the stack is not deployed.
        """
        try:
            outputs: dict[str, Any] = json.loads(
                self._run_quietly(
                    "stack", "output", "--json", "--show-secrets", "--stack", self.name
                )
            )
        except OperationError as error:
            if _UNKNOWN_STACK not in str(error):
                raise
            outputs = {}
        if "endpoint" not in outputs:
            raise OperationError(
                f"Stack '{self.name}' is not deployed. Run 'berth up -s {self.name}'."
            )
        return outputs

    def resources(self) -> list[dict[str, Any]]:
        """Return the type, ID and outputs of each resource, with secrets replaced."""
        exported = json.loads(self._run_quietly("stack", "export", "--stack", self.name))
        return list_resources(exported["deployment"])

    def forget(self, urns: AbstractSet[str]) -> None:
        """Remove resources from the state. They continue to exist.

        Raises:
            OperationError: If a resource that stays needs one of them. Nothing was changed.
        """
        exported = json.loads(self._run_quietly("stack", "export", "--stack", self.name))
        text = json.dumps(forget_resources(exported, urns))
        self._run_quietly("stack", "import", "--stack", self.name, stdin=text)

    def config(self) -> dict[str, Any]:
        """Return the configuration with secrets in plaintext, which must not be printed."""
        return self.read_config()[0]

    def read_config(self) -> tuple[dict[str, Any], frozenset[str]]:
        """Return the configuration with secrets in plaintext, and the keys that contain one."""
        return self._read_config(self.engine_config_file())

    def read_history_and_config(
        self,
    ) -> tuple[list[Update], dict[str, Any], frozenset[str]]:
        """Return what `history` and `read_config` return, with secrets in plaintext.

        The engine reads both at the same time, because deriving the key from the passphrase takes
        most of the time.
        """
        file = self.engine_config_file()  # `history` may change the tracked file for a moment.
        with ThreadPoolExecutor(1) as executor:
            reading = executor.submit(self._read_config, file)
            history = self.history(show_secrets=True)
            return history, *reading.result()

    def _read_config(self, file: Path) -> tuple[dict[str, Any], frozenset[str]]:
        entries = json.loads(
            self._run_quietly(
                *("config", "--json", "--show-secrets"),
                *("--config-file", str(file), "--stack", self.name),
            )
            or "{}"
        )
        values = {
            key: entry.get("objectValue", entry.get("value")) for key, entry in entries.items()
        }
        return values, frozenset(key for key, entry in entries.items() if entry.get("secret"))

    def set_secret(self, path: str, value: str, *, config_file: Path) -> None:
        """Encrypt `value` into `config_file`. It goes through a pipe: arguments are visible."""
        self._run_quietly(
            *("config", "set", "--secret", "--path", path),
            *("--config-file", str(config_file), "--stack", self.name),
            stdin=value,
        )

    def latest_update(self) -> Update:
        """Return the latest update, without its configuration."""
        recorded = read_state(self.root, self.name)
        return self.history()[-1] if recorded is None else recorded.latest

    def history(self, *, show_secrets: bool = False) -> list[Update]:
        """Return every update, oldest first."""
        arguments = ["stack", "history", "--json", "--stack", self.name]
        arguments += ["--page-size", _UPDATES_KEPT, "--page", "1"]
        if show_secrets:
            arguments.append("--show-secrets")
        tracked = self.config_file.read_bytes() if self.config_file.is_file() else None
        entries = json.loads(self._run_quietly(*arguments) or "[]")
        # Pulumi writes a salt into the tracked file to decrypt secrets, and has no option for it.
        if tracked is not None and self.config_file.read_bytes() != tracked:
            replace_atomically(self.config_file, tracked, mode=0o644)
        updates = [Update.parse(n, entry) for n, entry in enumerate(reversed(entries), start=1)]
        unready = self._unready_updates()
        return [
            replace(update, succeeded=False) if update.number in unready else update
            for update in updates
        ]

    def mark_unready(self, number: int) -> None:
        """Record in the backend that what update `number` deployed did not become ready.

        The engine itself records that the update succeeded, because every resource was accepted.
        """
        numbers = sorted({*self._unready_updates(), number})[-_UNREADY_KEPT:]
        self.set_tag(UNREADY_TAG, " ".join(map(str, numbers)))

    def tags(self) -> dict[str, str]:
        """Return the stack's tags."""
        recorded = read_tags(self.root, self.name)
        if recorded is not None:
            return recorded
        tags = json.loads(
            self._run_quietly("stack", "tag", "ls", "--json", "--stack", self.name) or "{}"
        )
        return tags or {}

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag of the stack. Its value has at most 256 characters."""
        self._run_quietly("stack", "tag", "set", name, value, "--stack", self.name)

    def _unready_updates(self) -> set[int]:
        return parse_unready(self.tags())

    def _check_providers(self) -> None:
        def export() -> str:
            try:
                return self._run_quietly("stack", "export", "--stack", self.name)
            except OperationError as error:
                if _UNKNOWN_STACK in str(error):
                    return ""
                raise

        check_providers(self.root, self.name, export)

    def _policies(self) -> list[str]:
        return [] if self.policy_pack is None else ["--policy-pack", str(self.policy_pack)]

    def _with_config(self, arguments: Sequence[str]) -> list[str]:
        if "--config-file" in arguments:
            return list(arguments)
        return [*arguments, "--config-file", str(self.engine_config_file())]

    def _run_with_progress(self, *arguments: str) -> int:
        """Run with Pulumi's own progress. Remove locks of processes that no longer run.

        Returns:
            0 or 1. The engine has a status for each kind of failure, and 2 would mean invalid
            input here.
        """
        self._check_providers()
        code, errors = self._engine.run(arguments)
        locks = find_locks(errors) if code else []
        for lock in locks:
            if not is_stale(self.root, self.name, lock):
                raise OperationError(
                    f"Stack '{self.name}' is locked by {lock.user}@{lock.host} (PID {lock.pid}) "
                    f"since {lock.text}. Nothing was changed. Retry later. If that process has "
                    f"ended, remove its lock with 'pulumi cancel --stack {self.name}'."
                )
        if locks:
            pids = ", ".join(str(lock.pid) for lock in locks)
            print(
                f"Removing a stale lock of stack '{self.name}': process {pids} is not running",
                file=sys.stderr,
            )
            self._run_quietly("cancel", "--yes", "--stack", self.name)
            for lock in locks:
                forget_process(self.root, self.name, lock.pid)
            code, _ = self._engine.run(arguments)
        return min(abs(code), 1)

    @property
    def _engine(self) -> Engine:
        return Engine(
            root=self.root,
            stack=self.name,
            directory=self.program or self.root,
            environment=self.environment,
            sink=sys.stderr if self.to_stderr else sys.stdout,
            find_hopeless=self.find_hopeless,
        )

    def _run_quietly(self, *arguments: str, stdin: str = "") -> str:
        code, output = self._engine.capture(
            _QUIET_SECONDS, [*arguments, "--non-interactive"], stdin=stdin
        )
        if code:
            raise OperationError(f"'pulumi {' '.join(arguments[:2])}' failed: {output.strip()}")
        return output
