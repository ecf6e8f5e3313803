"""The configuration file that the engine reads, which may differ from the tracked one by its salt.

Pulumi writes an `encryptionsalt` into the configuration file of every stack that it encrypts with
a passphrase, and rejects a salt that was made with another passphrase. Each clone of a project has
its own passphrase, so the salt must not be committed as long as the file contains no secret. The
engine therefore gets a copy under `.berth/config/` that carries this clone's salt. The tracked
file stays the source of every other line.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from berth.engine.environment import project_data_directory
from pulumi_berth.files import replace_atomically

_SALT = re.compile(r"^encryptionsalt:.*\n?(?:[ \t]+.*\n?)*", re.MULTILINE)
# A secret is encrypted with the salt in the same file. Another provider's key is in the file too.
_OWN_ENCRYPTION = re.compile(r"^(?:secretsprovider|encryptedkey):|\bsecure:", re.MULTILINE)


def remove_unused_salt(text: str) -> str:
    """Return a configuration file's text without its salt, unless the file needs the salt."""
    return text if _OWN_ENCRYPTION.search(text) else _SALT.sub("", text)


@dataclass(frozen=True)
class StackConfig:
    """The configuration file of one stack, as the user tracks it and as the engine reads it.

    Attributes:
        root: The project's directory.
        stack: The stack's name.
    """

    root: Path
    stack: str

    @property
    def tracked(self) -> Path:
        """The file that the user edits and commits."""
        return self.root / f"Pulumi.{self.stack}.yaml"

    def prepare(self) -> Path:
        """Return the file for the engine: the tracked file, or a copy of it with a local salt."""
        text = self.tracked.read_text() if self.tracked.exists() else ""
        if _OWN_ENCRYPTION.search(text):
            return self.tracked
        copy = self._copy
        salt = _SALT.search(copy.read_text()) if copy.exists() else None
        text = _SALT.sub("", text)
        if salt is not None:
            text = f"{text.rstrip()}\n{salt.group()}"
        replace_atomically(copy, text)
        return copy

    def prepare_new(self) -> Path:
        """Return the directory in which `pulumi stack init` writes the salt of a new stack."""
        copy = self._copy
        copy.unlink(missing_ok=True)
        file = self.prepare()
        if file == copy:
            shutil.copyfile(self.root / "Pulumi.yaml", copy.parent / "Pulumi.yaml")
        return file.parent

    @property
    def _copy(self) -> Path:
        return project_data_directory(self.root, "config") / self.tracked.name
