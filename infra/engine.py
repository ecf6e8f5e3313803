"""The Pulumi engine: found on the PATH, and the environment that it runs in."""

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.local.run_dir import write_atomically


class EngineError(RuntimeError):
    """No engine could be had; the message says what to install by hand."""


@dataclass(frozen=True)
class Engine:
    """An engine, by the folder that holds `pulumi`; None when that is on the PATH anyway."""

    folder: Path | None

    def environment(self, root: Path) -> dict[str, str]:
        """The environment variables that run this engine on the project in `root`."""
        environment = dict(os.environ)
        path = [str(Path(sys.prefix) / "bin")]
        if self.folder is not None:
            path.append(str(self.folder))
        environment["PATH"] = os.pathsep.join([*path, environment.get("PATH", "")])
        environment["VIRTUAL_ENV"] = sys.prefix
        environment["PYTHONPATH"] = str(root)
        environment.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
        if "PULUMI_BACKEND_URL" not in environment:
            state = root / ".berth" / "state"
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            environment["PULUMI_BACKEND_URL"] = f"file://{state}"
        if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(environment):
            passphrase = root / ".berth" / "passphrase"
            if not passphrase.exists():
                write_atomically(passphrase, secrets.token_urlsafe(32))
            environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase)
        return environment


def ensure_engine(say: Callable[[str], None]) -> Engine:
    if shutil.which("pulumi") is None:
        raise EngineError("install Pulumi: https://www.pulumi.com/docs/install/")
    return Engine(None)
