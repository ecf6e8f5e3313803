"""VolumeFiles: files in a volume, which no environment variable and no label shows."""

import hashlib
import io
import secrets
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import docker
import pulumi
from docker.errors import APIError
from docker.models.containers import Container
from docker.types import Mount
from pulumi.dynamic import Resource

from pulumi_berth.docker.engine import COMPONENT_LABEL, EngineError, open_engine
from pulumi_berth.providers import VolumeFilesProvider

HELPER = "files"
"""Component of the container through which files reach a volume. It never runs."""
_HELPER_LABEL = "berth.volume"
_TARGET = "/volume"
_USER_ID = 65532
_MAX_BYTES = 64 << 20


class VolumeFiles(Resource, module="berth", name="VolumeFiles"):
    """Files in a volume that only Berth's user can read.

    A change of a file replaces no container. A program that watches a file finds it complete.

    Attributes:
        volume: Name of the volume.
        sha256: SHA-256 (hex) of names and contents.
    """

    volume: pulumi.Output[str]
    sha256: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        host: str,
        volume: pulumi.Input[str],
        image: pulumi.Input[str],
        files: Mapping[str, pulumi.Input[str]],
        directories: Sequence[str] = (),
        labels: Mapping[str, str],
        is_secret: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the files.

        Args:
            image: Any image of the engine, for the container through which files are written.
            files: Content of each file by its name.
            directories: Directories that programs may write to.
            labels: Labels of that container.
            is_secret: Whether the contents are secrets.
        """
        secret = pulumi.ResourceOptions(additional_secret_outputs=["files"] if is_secret else [])
        super().__init__(
            VolumeFilesProvider(),
            name,
            {
                "host": host,
                "volume": volume,
                "image": image,
                "files": dict(files),
                "directories": list(directories),
                "labels": dict(labels),
                "sha256": None,
            },
            pulumi.ResourceOptions.merge(opts, secret),
        )


def write_files(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Write the files and directories into the volume.

    Returns:
        The output of the resource, `sha256`.
    """
    with open_engine(inputs["host"]) as client, _open_helper(client, inputs) as helper:
        archive = build_archive(inputs["files"], inputs["directories"])
        if not helper.put_archive(_TARGET, archive):
            raise EngineError(f"The engine did not write the files of volume {inputs['volume']}.")
    return {"sha256": compute_digest(inputs["files"])}


def has_files(inputs: Mapping[str, Any]) -> bool:
    """Return whether the volume exists and contains the files."""
    with open_engine(inputs["host"]) as client:
        if not client.volumes.list(filters={"name": inputs["volume"]}):
            return False
        with _open_helper(client, inputs) as helper:
            return all(
                _read_file(helper, name) == content for name, content in inputs["files"].items()
            )


def compute_digest(files: Mapping[str, str]) -> str:
    """Return the SHA-256 (hex) of names and contents."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{len(name)} {name} {len(content)} {content}".encode())
    return digest.hexdigest()


@contextmanager
def _open_helper(client: docker.DockerClient, inputs: Mapping[str, Any]) -> Iterator[Container]:
    """Yield a container that has the volume and never runs. Remove those of an earlier, killed run.

    The engine copies files through its own view of a container's volumes, so no program in the
    container sees them.
    """
    labels = {**inputs["labels"], COMPONENT_LABEL: HELPER, _HELPER_LABEL: inputs["volume"]}
    for old in client.containers.list(
        all=True, filters={"label": [f"{_HELPER_LABEL}={inputs['volume']}"], "status": "created"}
    ):
        if time.time() - _get_age(old) > 60:
            old.remove(force=True)
    helper = client.containers.create(
        inputs["image"],
        name=f"{inputs['volume']}-files-{secrets.token_hex(4)}",
        entrypoint=["/nothing"],
        labels=labels,
        network_mode="none",
        mounts=[Mount(target=_TARGET, source=inputs["volume"], type="volume", no_copy=True)],
    )
    try:
        yield helper
    finally:
        helper.remove(force=True)


def _get_age(container: Container) -> float:
    from datetime import datetime

    created = str(container.attrs["Created"]).partition(".")[0].rstrip("Z")
    return datetime.fromisoformat(f"{created}+00:00").timestamp()


def build_archive(files: Mapping[str, str], directories: Sequence[str]) -> bytes:
    """Return the files and directories as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in directories:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o700
            info.uid = info.gid = _USER_ID
            tar.addfile(info)
        for name, content in files.items():
            data = content.encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o400, int(time.time())
            info.uid = info.gid = _USER_ID
            # The engine creates a file empty and then writes it. A program that reads it at that
            # moment, as Traefik does, would use nothing. A link appears with its whole content.
            info.name = _get_written_name(name)
            tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, info.name
            link.mode, link.uid, link.gid = info.mode, _USER_ID, _USER_ID
            tar.addfile(link)
    return buffer.getvalue()


def _get_written_name(name: str) -> str:
    """Return the first name of a file, which no program reads."""
    return f".{name}.written"


def _read_file(helper: Container, name: str) -> str | None:
    """Return the content of a file in the volume, or None if it is missing or too large."""
    try:
        stream, status = helper.get_archive(f"{_TARGET}/{name}")
    except APIError:
        return None
    if int(status["size"]) > _MAX_BYTES:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        return None if file is None else file.read().decode(errors="replace")
