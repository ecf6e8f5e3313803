"""Providers: the engine's plugins for a platform.

The engine would download the provider of every installed Python package. This module installs
only the providers that the platform uses.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping

from berth.engine.environment import EngineError
from berth.platforms.platform import Platform

_INSTALL_SECONDS = 600


def ensure_providers(
    platform: Platform, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Find the platform's providers on the PATH or among the engine's plugins, or install them.

    Args:
        environment: The environment that the engine runs in.

    Raises:
        EngineError: If a provider is missing and cannot be installed.
    """
    # Slow to import, and not needed by commands that change nothing.
    from importlib import metadata

    for name in platform.providers:
        program = f"pulumi-resource-{name}"
        if shutil.which(program, path=environment["PATH"]):
            continue
        version = metadata.version(f"pulumi-{name}")
        if _is_installed(name, version, environment):
            continue
        say(f"provider: installing {name} {version} once")
        result = _run_pulumi(environment, "plugin", "install", "resource", name, version)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise EngineError(
                f"Platform '{platform.name}' needs the provider {name} {version}, and installing "
                f"it failed: {reason}\n"
                f"Download {program} and add its directory to the PATH: "
                f"https://github.com/pulumi/pulumi-{name}/releases/tag/v{version}"
            )


def _is_installed(name: str, version: str, environment: Mapping[str, str]) -> bool:
    plugins = json.loads(_run_pulumi(environment, "plugin", "ls", "--json").stdout or "[]")
    return any(entry["name"] == name and entry["version"] == version for entry in plugins)


def _run_pulumi(
    environment: Mapping[str, str], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["pulumi", "--non-interactive", *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )
