"""An image of Traefik from the program of this machine, because tests download nothing."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.docker.engine import Engine

IMAGE = "image.invalid/traefik:test"
_PROGRAM = "/usr/local/bin/traefik"


def load_traefik(engine: Engine) -> str:
    """Load the image into an engine and return its name. Skip the test without the program."""
    program = shutil.which("traefik")
    if program is None:
        pytest.skip("traefik is not on the PATH")
    if not engine.docker("image", "ls", "-q", IMAGE):
        archive = engine.directory / "traefik.tar"
        with tarfile.open(archive, "w") as tar:
            info = tarfile.TarInfo(_PROGRAM.lstrip("/"))
            data = Path(program).read_bytes()
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        # As in the official image, the program is on the PATH, and the user is root.
        changes = ("--change", "ENV PATH=/usr/local/bin", "--change", f'ENTRYPOINT ["{_PROGRAM}"]')
        engine.docker("import", *changes, str(archive), IMAGE)
        archive.unlink()
    return IMAGE
