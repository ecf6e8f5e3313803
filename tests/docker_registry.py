"""Registries for tests: the program `docker-registry` with images of a few bytes."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pulumi_berth.oci import documents
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.registry import Repository

_START_SECONDS = 60


@contextmanager
def start_registry(directory: Path, address: str | None = None) -> Iterator[str]:
    """Run a registry without TLS that allows deletion, and yield its address.

    Args:
        address: Its address and port. Defaults to a free port on loopback.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("not installed: docker-registry")
    directory.mkdir(exist_ok=True)
    address = address or f"127.0.0.1:{_find_port()}"
    storage = f"filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}"
    config = directory / "config.yml"
    config.write_text(f"version: 0.1\nstorage: {{{storage}}}\nhttp: {{addr: '{address}'}}\n")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _responds(address):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _responds(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v2/", trust_env=False).is_success
    except httpx.TransportError:
        return False


def push_image(repository: Repository, content: str) -> str:
    """Push an image whose only layer is `content`, and return its reference."""
    layer = Document(media_type=documents.LAYER, data=content.encode())
    rootfs = {"type": "layers", "diff_ids": [layer.digest]}
    config = documents.encode_document(
        documents.CONFIG, {"architecture": "amd64", "os": "linux", "rootfs": rootfs}
    )
    manifest = documents.encode_document(
        documents.MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": config.descriptor,
            "layers": [layer.descriptor],
        },
    )
    repository.push_document(layer)
    repository.push_document(config)
    repository.push_manifest(manifest)
    return f"{repository.name}@{manifest.digest}"


def delete_image(reference: str) -> None:
    """Delete the manifest of an image from its registry."""
    name, _, digest = reference.partition("@")
    host, _, path = name.partition("/")
    response = httpx.delete(f"http://{host}/v2/{path}/manifests/{digest}", trust_env=False)
    assert response.status_code == 202, response.text
