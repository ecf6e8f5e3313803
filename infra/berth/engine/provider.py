"""Providers: the engine's plugins for a platform, found or installed.

The engine would fetch those of every Python package that is installed; this fetches what is used.
"""

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping

from berth.engine.ensure import EngineError
from berth.platforms.platform import Platform

_INSTALL_SECONDS = 600


def ensure_providers(
    platform: Platform, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Have what `platform` needs: from the PATH, from what is installed, or installed now.

    Args:
        environment: that the engine runs in.

    Raises:
        EngineError: one is not there and could not be had; the text says what to do by hand.
    """
    for name in platform.providers:
        program = f"pulumi-resource-{name}"
        if shutil.which(program, path=environment["PATH"]):
            continue
        version = importlib.metadata.version(f"pulumi-{name}")
        if _is_installed(name, version, environment):
            continue
        say(f"provider: installing {name} {version}, once")
        done = _pulumi(environment, "plugin", "install", "resource", name, version)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise EngineError(
                f"Platform '{platform.name}' needs the provider {name} {version}, and installing "
                f"it failed: {reason}\n"
                f"Download {program} and add its directory to the PATH: "
                f"https://github.com/pulumi/pulumi-{name}/releases/tag/v{version}"
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
