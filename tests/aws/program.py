"""A small Pulumi program of its own, as someone would write who uses one component alone."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.aws.departures import EMULATOR
from tests.aws.emulation import Emulation
from tests.repository import PACKAGES

_SECONDS = 600
_DONE_NOTHING = ("same", "read")
_PROJECT = {"name": "alone", "runtime": "python", "config": {}}


def unexpected(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The steps of a preview that change something: `type::name` -> operation and properties,
    without what the emulator alone brings about."""
    return {
        step["urn"].split("::", 2)[2]: " ".join([step["op"], *sorted(_changed(step))])
        for step in steps
        if _is_change(step)
    }


def _is_change(step: Mapping[str, Any]) -> bool:
    if step["op"] in _DONE_NOTHING:
        return False
    known = EMULATOR.get(step["newState"]["type"], {}) if step["op"] == "update" else {}
    changed = _changed(step)
    return not changed or not all(_is_known(path, known) for path in changed)


def _is_known(path: str, known: Mapping[str, str]) -> bool:
    return any(path == key or path.startswith(f"{key}.") for key in known)


def _changed(step: Mapping[str, Any]) -> set[str]:
    return {re.sub(r"\[.*?\]", "", key) for key in step.get("detailedDiff") or ()}


@dataclass
class Program:
    """A program, its stack `test` and the emulated AWS that it deploys to."""

    folder: Path
    aws: Emulation

    def write(self, source: str) -> "Program":
        """Make `source` (a Python program that declares resources) the program."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Pulumi.yaml").write_text(json.dumps(_PROJECT))
        (self.folder / "__main__.py").write_text(textwrap.dedent(source))
        stack = self.folder / "Pulumi.test.yaml"
        if not stack.exists():
            stack.write_text(json.dumps({"config": self.aws.config()}))
            (self.folder / "state").mkdir()
            self.pulumi("stack", "init", "test")
        return self

    def up(self) -> None:
        """Deploy it; a failure fails the test."""
        print(self.pulumi("up", "--yes", "--skip-preview", "--stack", "test").stdout)

    def changes(self) -> dict[str, str]:
        """What a preview would do: see `unexpected`."""
        shown = self.pulumi("preview", "--json", "--stack", "test").stdout
        return unexpected(json.loads(shown)["steps"])

    def outputs(self) -> dict[str, Any]:
        """The program's exports, secrets in clear."""
        shown = self.pulumi("stack", "output", "--json", "--show-secrets", "--stack", "test").stdout
        found: dict[str, Any] = json.loads(shown)
        return found

    def resources(self) -> list[dict[str, Any]]:
        """The stack's resources as its state has them, secrets encrypted."""
        state = json.loads(self.pulumi("stack", "export", "--stack", "test").stdout)
        found: list[dict[str, Any]] = state["deployment"]["resources"]
        return found

    def destroy(self) -> None:
        """Take everything down."""
        print(self.pulumi("destroy", "--yes", "--skip-preview", "--stack", "test").stdout)

    def pulumi(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """`pulumi ARGUMENTS`; any other exit code than `code` fails the test."""
        done = subprocess.run(
            ["pulumi", "--non-interactive", *arguments], cwd=self.folder, env=self._environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-6000:] + done.stderr[-6000:]
        return done

    def _environment(self) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PULUMI_", "AWS_", "http", "HTTP"))
        }
        return {
            **kept,
            **self.aws.environment(),
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "PYTHONPATH": PACKAGES,
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
