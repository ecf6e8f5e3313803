"""What a process that runs the engine gets as its environment."""

import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

PROGRAMS = ("pulumi", "pulumi-language-python")

_OWNER_ONLY_FOLDER = 0o700
_PASSPHRASE_BYTES = 32


@dataclass(frozen=True)
class Engine:
    """A usable engine: the folder that `pulumi` is in, and its version."""

    directory: Path
    version: str

    def search_path(self) -> str:
        """PATH, with this interpreter's folder first and the engine's where it is needed."""
        folders = [str(Path(sys.executable).parent)]
        found = shutil.which(PROGRAMS[0])
        # A folder such as /usr/bin, moved ahead, would hide what the user put before it.
        if found is None or Path(found).parent != self.directory:
            folders.append(str(self.directory))
        rest = os.environ.get("PATH", os.defpath).split(os.pathsep)
        return os.pathsep.join([*folders, *(entry for entry in rest if entry != folders[0])])

    def environment(self, root: Path) -> dict[str, str]:
        """The caller's environment, completed for running the engine on the project at `root`.

        What the user set of Pulumi's own (backend, passphrase) is kept. Otherwise state goes to
        `.berth/state`, and secrets are encrypted with a passphrase that is generated once.
        """
        found = dict(os.environ)
        found["PATH"] = self.search_path()
        found.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
        # Pulumi takes every provider whose Python package is installed for needed and would
        # download them all, hundreds of megabytes, for a laptop that uses none.
        found.setdefault("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
        if sys.prefix != sys.base_prefix:
            found["VIRTUAL_ENV"] = sys.prefix
        if not found.get("PULUMI_BACKEND_URL"):
            found["PULUMI_BACKEND_URL"] = f"file://{quote(str(_own_folder(root, 'state')))}"
        if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & found.keys():
            found["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_passphrase_file(root))
        return found


def _own_folder(root: Path, name: str = "") -> Path:
    """`.berth` of the project, or a folder in it; nobody else may look into a new one."""
    folder = root / ".berth"
    folder.mkdir(mode=_OWNER_ONLY_FOLDER, exist_ok=True)
    if name:
        folder /= name
        folder.mkdir(mode=_OWNER_ONLY_FOLDER, exist_ok=True)
    return folder


def _passphrase_file(root: Path) -> Path:
    path = _own_folder(root) / "passphrase"
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(_PASSPHRASE_BYTES))
            stream.flush()
            os.fsync(descriptor)
        try:
            # Unlike a rename, a link never replaces what another first run has just made.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path
