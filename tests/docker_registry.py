"""Registries for tests: the program `docker-registry` on loopback, with images of a few bytes."""

import hashlib
import json
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
def start_registry(directory: Path) -> Iterator[str]:
    """Run a registry without TLS that allows deletion, and yield its address."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("not installed: docker-registry")
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
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


def _responds(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v2/", trust_env=False).is_success
    except httpx.TransportError:
        return False


def push_image(name: str, content: bytes, directory: Path) -> str:
    """Push an image with one layer, and return `name@sha256:...`."""
    repository = Repository(name=name, plain_http=True)

    def push(data: bytes) -> tuple[str, int]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = directory / digest.replace(":", "-")
        path.write_bytes(data)
        repository.push_file(path, digest)
        return digest, len(data)

    layer, layer_size = push(content)
    config, config_size = push(
        json.dumps(
            {"architecture": "amd64", "os": "linux",
             "rootfs": {"type": "layers", "diff_ids": [layer]}}
        ).encode()
    )  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config,
            "size": config_size,
        },
        "layers": [{"mediaType": documents.LAYER, "digest": layer, "size": layer_size}],
    }
    document = Document(
        media_type=str(manifest["mediaType"]), data=json.dumps(manifest, sort_keys=True).encode()
    )
    repository.push_manifest(document, f"release-{document.digest[-16:]}")
    return f"{name}@{document.digest}"


def delete_image(reference: str) -> None:
    """Delete the manifest of an image from its registry."""
    name, _, digest = reference.partition("@")
    host, _, path = name.partition("/")
    response = httpx.delete(f"http://{host}/v2/{path}/manifests/{digest}", trust_env=False)
    assert response.status_code == 202, response.text
