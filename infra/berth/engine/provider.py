"""Providers: the engine's plugins for a platform, found or installed.

The engine would fetch those of every Python package that is installed; this fetches what is used.
"""

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping

from berth.engine.ensure import EngineError

PROVIDERS: dict[str, tuple[str, ...]] = {
    "local": (),
    "kubernetes": ("kubernetes",),
    "aws": ("aws", "kubernetes"),
}
"""Platform -> the providers that its stacks use."""

_INSTALL_SECONDS = 600


def ensure_providers(
    platform: str, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Have what `platform` needs: from the PATH, from what is installed, or installed now.

    Args:
        environment: that the engine runs in.

    Raises:
        EngineError: one is not there and could not be had; the text says what to do by hand.
    """
    for name in PROVIDERS[platform]:
        program = f"pulumi-resource-{name}"
        if shutil.which(program, path=environment["PATH"]):
            continue
        version = importlib.metadata.version(f"pulumi-{name}")
        if _is_installed(name, version, environment):
            continue
        say(f"provider: installing {name} {version}, once")
        done = _pulumi(environment, "plugin", "install", "resource", name, version)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise EngineError(
                f"platform {platform} needs the provider {name} {version}, which cannot be had: "
                f"{why}\nInstall it by hand, its folder on the PATH: "
                f"https://github.com/pulumi/pulumi-{name}/releases/tag/v{version} ({program})"
            )


def _is_installed(name: str, version: str, environment: Mapping[str, str]) -> bool:
    found = json.loads(_pulumi(environment, "plugin", "ls", "--json").stdout or "[]")
    return any(entry["name"] == name and entry["version"] == version for entry in found)


def _pulumi(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["pulumi", "--non-interactive", *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )
