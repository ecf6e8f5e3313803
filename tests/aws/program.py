"""A Pulumi program with one component, as a user of the component package would write it."""

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

from tests.aws.emulation import Emulation
from tests.aws.emulator_differences import EMULATOR_DIFFERENCES
from tests.engine.project import SAVE_STATE_ONCE
from tests.repository import PACKAGES

_TIMEOUT_SECONDS = 600
_UNCHANGED = ("same", "read")
_PROJECT = {"name": "component", "runtime": "python", "config": {}}


def find_changes(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the steps of a preview that change something, without differences of the emulator.

    Returns:
        `type::name` -> operation and properties.
    """
    return {
        step["urn"].split("::", 2)[2]: " ".join([step["op"], *sorted(_changed_properties(step))])
        for step in steps
        if _is_change(step)
    }


def _is_change(step: Mapping[str, Any]) -> bool:
    if step["op"] in _UNCHANGED:
        return False
    known = EMULATOR_DIFFERENCES.get(step["newState"]["type"], {}) if step["op"] == "update" else {}
    changed = _changed_properties(step)
    return not changed or not all(_is_known(path, known) for path in changed)


def _is_known(path: str, known: Mapping[str, str]) -> bool:
    return any(path == key or path.startswith(f"{key}.") for key in known)


def _changed_properties(step: Mapping[str, Any]) -> set[str]:
    return {re.sub(r"\[.*?\]", "", key) for key in step.get("detailedDiff") or ()}


@dataclass
class Program:
    """A program, its stack `test`, and the emulated AWS that it deploys to."""

    directory: Path
    aws: Emulation

    def write(self, source: str) -> "Program":
        """Write `source` as the program. The first call also creates the stack."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "Pulumi.yaml").write_text(json.dumps(_PROJECT))
        (self.directory / "__main__.py").write_text(textwrap.dedent(source))
        stack = self.directory / "Pulumi.test.yaml"
        if not stack.exists():
            stack.write_text(json.dumps({"config": self.aws.config()}))
            (self.directory / "state").mkdir()
            self.pulumi("stack", "init", "test")
        return self

    def up(self) -> None:
        """Deploy the program. An error fails the test."""
        print(self.pulumi("up", "--yes", "--skip-preview", "--stack", "test").stdout)

    def changes(self) -> dict[str, str]:
        """Return the changes of a preview: see `find_changes`."""
        preview = self.pulumi("preview", "--json", "--stack", "test").stdout
        return find_changes(json.loads(preview)["steps"])

    def outputs(self) -> dict[str, Any]:
        """Return the program's outputs, with plaintext secrets."""
        text = self.pulumi("stack", "output", "--json", "--show-secrets", "--stack", "test").stdout
        outputs: dict[str, Any] = json.loads(text)
        return outputs

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources in the stack's state, with encrypted secrets."""
        state = json.loads(self.pulumi("stack", "export", "--stack", "test").stdout)
        resources: list[dict[str, Any]] = state["deployment"]["resources"]
        return resources

    def destroy(self) -> None:
        """Delete every resource."""
        print(self.pulumi("destroy", "--yes", "--skip-preview", "--stack", "test").stdout)

    def pulumi(
        self, *arguments: str, code: int = 0, programs: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run `pulumi ARGUMENTS`.

        Args:
            code: Expected exit status. Any other status fails the test.
            programs: Folder to put first on the PATH.
        """
        environment = self._environment()
        if programs is not None:
            environment["PATH"] = f"{programs}:{environment['PATH']}"
        result = subprocess.run(
            ["pulumi", "--non-interactive", *arguments], cwd=self.directory, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS,
            check=False,
        )  # fmt: skip
        assert result.returncode == code, result.stdout[-6000:] + result.stderr[-6000:]
        return result

    def _environment(self) -> dict[str, str]:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PULUMI_", "AWS_", "http", "HTTP"))
        }
        return {
            **inherited,
            **self.aws.environment(),
            **SAVE_STATE_ONCE,
            "PATH": f"{Path(sys.executable).parent}:{inherited['PATH']}",
            "PYTHONPATH": PACKAGES,
            "PULUMI_BACKEND_URL": f"file://{self.directory / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
