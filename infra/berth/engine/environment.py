"""The engine, and the environment of the processes that run it."""

import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pulumi_berth.proxies import exclude_loopback

# The same as the pulumi package in requirements.txt and the module in cli/go.mod.
VERSION = "3.259.0"
PROGRAMS = ("pulumi", "pulumi-language-python")

_OWNER_ONLY = 0o700
_PASSPHRASE_BYTES = 32


class EngineError(RuntimeError):
    """No usable engine or provider. The message states why and what to install."""


class UnavailableError(RuntimeError):
    """One source of the engine failed. The message states why."""


@dataclass(frozen=True)
class Engine:
    """A usable engine: the directory that contains `pulumi`, and its version."""

    directory: Path
    version: str

    def search_path(self) -> str:
        """Return PATH with this interpreter first, then the engine's directory if needed."""
        directories = [str(Path(sys.executable).parent)]
        installed = shutil.which(PROGRAMS[0])
        # A directory such as /usr/bin, moved ahead, would hide what the user put before it.
        if installed is None or Path(installed).parent != self.directory:
            directories.append(str(self.directory))
        rest = os.environ.get("PATH", os.defpath).split(os.pathsep)
        return os.pathsep.join(
            [*directories, *(entry for entry in rest if entry != directories[0])]
        )

    def environment(self, root: Path) -> dict[str, str]:
        """Return the caller's environment, completed to run the engine on the project at `root`.

        The user's Pulumi settings (backend, passphrase) are kept. Without them, Pulumi stores
        state in `.berth/state` and encrypts secrets with a passphrase that is generated once.
        """
        from pulumi_berth.provider_host import install_python

        environment = dict(os.environ)
        exclude_loopback(environment)
        environment["PATH"] = self.search_path()
        # This interpreter, with a host of dynamic providers that loads only Berth's.
        environment["PULUMI_PYTHON_CMD"] = str(install_python())
        environment.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
        # Pulumi considers the provider of every installed Python package necessary and would
        # download all of them, hundreds of megabytes, for a laptop that uses none.
        environment.setdefault("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
        if sys.prefix != sys.base_prefix:
            environment["VIRTUAL_ENV"] = sys.prefix
        if not environment.get("PULUMI_BACKEND_URL"):
            directory = project_data_directory(root, "state")
            environment["PULUMI_BACKEND_URL"] = f"file://{quote(str(directory))}"
        if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & environment.keys():
            environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_ensure_passphrase_file(root))
        return environment


def find_state_directory(root: Path) -> Path | None:
    """Return the local directory that stores the state, or None if the backend is not local."""
    url = os.environ.get("PULUMI_BACKEND_URL")
    if not url:
        return root / ".berth" / "state"
    parts = urlsplit(url)
    is_plain = parts.scheme == "file" and not (parts.netloc or parts.query or parts.fragment)
    return Path(unquote(parts.path)) if is_plain and parts.path.startswith("/") else None


def project_data_directory(root: Path, name: str = "") -> Path:
    """Return the project's `.berth` directory or one in it, and create it for its owner only."""
    directory = root / ".berth"
    directory.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    if name:
        directory /= name
        directory.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    return directory


def _ensure_passphrase_file(root: Path) -> Path:
    path = project_data_directory(root) / "passphrase"
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(_PASSPHRASE_BYTES))
            stream.flush()
            os.fsync(descriptor)
        try:
            # Unlike a rename, a link never replaces the file of a concurrent first run.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path
