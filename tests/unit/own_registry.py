"""A real registry on this machine, and a small image in it."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from pulumi_berth.oci import documents
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.registry import Repository

_START_SECONDS = 60


@contextmanager
def run_registry(directory: Path) -> Iterator[str]:
    """Run docker-registry on a free port of the loopback interface, and return its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": address},
    }
    (directory / "config.yml").write_text(json.dumps(configuration))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"http://{address}/v2/", trust_env=False)
                break
            except httpx.TransportError:
                text = (directory / "log").read_text()
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def push_image(repository: Repository, content: str) -> str:
    """Push an image whose only layer is `content`, and return its reference."""
    layer = Document(media_type=documents.LAYER, data=content.encode())
    config = documents.encode_document(
        documents.CONFIG,
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}},
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
