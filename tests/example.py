"""The programs in examples/, as a stranger runs them: in an own folder, with Berth installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.repository import REPOSITORY

LANGUAGES = ("python", "yaml")
_TIMEOUT_SECONDS = 600


def install_berth(directory: Path) -> dict[str, str]:
    """Install Berth from its wheel. Return the environment variables that activate it.

    Its requirements are those of the test's own environment.
    """
    target = directory / "installed"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--quiet", "--target", target, REPOSITORY], check=True, capture_output=True
    )
    python = Path(sys.executable).parent
    return {
        "PATH": os.pathsep.join((str(target / "bin"), str(python), os.environ["PATH"])),
        "PYTHONPATH": str(target),
    }


@dataclass
class Example:
    """A copy of an example, and its stack `test`.

    Attributes:
        directory: Directory of the program.
        environment: Environment variables of Pulumi.
    """

    directory: Path
    environment: Mapping[str, str]
    _is_destroyed: bool = True

    @classmethod
    def create(
        cls,
        name: str,
        language: str,
        directory: Path,
        environment: Mapping[str, str],
        **config: str,
    ) -> "Example":
        """Copy examples/NAME/LANGUAGE to a new directory and create its stack.

        Skip the test if Pulumi's programs for it are missing.

        Args:
            config: Configuration of the program.
        """
        required = ["pulumi-language-yaml"] if language == "yaml" else []
        providers = [each for each in ("kubernetes", "docker") if name.startswith(each)]
        required += [f"pulumi-resource-{each}" for each in providers]
        if missing := [program for program in required if shutil.which(program) is None]:
            pytest.skip(f"not on the PATH: {', '.join(missing)}; {name} in {language} needs it")
        shutil.copytree(REPOSITORY / "examples" / name / language, directory)
        (directory / "state").mkdir()
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PULUMI_", "AWS_", "http", "HTTP"))
        }
        example = cls(
            directory,
            {
                **inherited,
                "PULUMI_BACKEND_URL": f"file://{directory / 'state'}",
                "PULUMI_CONFIG_PASSPHRASE": "test",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                **environment,
            },
        )
        example.pulumi("stack", "init", "test")
        for key, value in config.items():
            example.pulumi("config", "set", key, value)
        return example

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Run `pulumi ARGUMENTS`, check whether it fails, and return its standard output."""
        result = subprocess.run(
            ["pulumi", "--non-interactive", *arguments],
            cwd=self.directory,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        assert (result.returncode != 0) == fails, result.stdout[-6000:] + result.stderr[-6000:]
        return result.stdout

    def up(self) -> dict[str, Any]:
        """Preview and deploy. Return the outputs, with plaintext secrets."""
        self._is_destroyed = False
        self.pulumi("up", "--yes")
        outputs: dict[str, Any] = json.loads(
            self.pulumi("stack", "output", "--json", "--show-secrets")
        )
        return outputs

    def preview(self) -> set[str]:
        """Preview a new stack. Return `type::name` of the resources below the stack."""
        steps = json.loads(self.pulumi("preview", "--json"))["steps"]
        assert {step["op"] for step in steps} <= {"create", "read"}
        return {step["urn"].split("::", 2)[2] for step in steps if "providers" not in step["urn"]}

    def require_no_changes(self) -> None:
        """Check that a preview and a refresh find nothing to change."""
        self.pulumi("preview", "--expect-no-changes")
        self.pulumi("refresh", "--yes", "--expect-no-changes")

    def replace(self, old: str, new: str) -> None:
        """Replace a text that occurs once in the program."""
        files = (self.directory / "Pulumi.yaml", self.directory / "__main__.py")
        (file,) = (each for each in files if each.exists() and old in each.read_text())
        assert file.read_text().count(old) == 1
        file.write_text(file.read_text().replace(old, new))

    def destroy(self) -> None:
        """Delete every resource, unless a test has done so."""
        if not self._is_destroyed:
            self.pulumi("destroy", "--yes")
        self._is_destroyed = True


def read_config_keys(name: str, language: str) -> set[str]:
    """Return the keys of an example's configuration."""
    file = REPOSITORY / "examples" / name / language / "Pulumi.yaml"
    return set(YAML(typ="safe").load(file.read_text())["config"])
