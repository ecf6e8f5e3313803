"""A build context of a container of the user's own, which needs no registry and no network."""

import shutil
from pathlib import Path
from typing import Any

from pulumi_berth.images import layers
from tests.cluster import own_server

MODEL = "shout"
REQUEST: dict[str, Any] = {
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["hello", "you"]}]
}
ANSWER = ["HELLO", "YOU"]
_DOCKERFILE = """\
FROM scratch
ADD base.tar.gz /
COPY server.py /srv/
ENV SERVER=own
USER 1000
ENTRYPOINT ["/usr/bin/python3", "/srv/server.py"]
"""


def write_context(directory: Path) -> Path:
    """Write a Dockerfile, the server, and a hardened base with Python to a new directory."""
    directory.mkdir()
    (directory / "Dockerfile").write_text(_DOCKERFILE)
    shutil.copyfile(own_server.__file__, directory / "server.py")
    shutil.copyfile(layers.base_layer("amd64", []).path, directory / "base.tar.gz")
    return directory


def change_mark(directory: Path, mark: str) -> None:
    """Let the server of a context append `mark` to its answers."""
    file = directory / "server.py"
    old, new = 'MARK = ""', f'MARK = "{mark}"'
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))
