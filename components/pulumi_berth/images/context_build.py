"""Images that a Docker engine builds from a directory with a Dockerfile.

The command `docker` builds the image and hands it over as an archive. Berth checks and pushes it
with its own client, so the engine needs no access to the registry.
"""

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pulumi_berth.images.base_reader import BaseImage, ImageCheckError
from pulumi_berth.images.build import Part, PushedImage, push_parts, scan_image
from pulumi_berth.images.contents import LayerError, read_contents
from pulumi_berth.images.report import build_report, find_defects
from pulumi_berth.images.scan import Scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.documents import Document
from pulumi_berth.oci.layer import Layer, compress_archive
from pulumi_berth.oci.registry import Repository
from pulumi_berth.own_container_rules import ContextBuildError

_DOCKER = "docker"
_TIMEOUT_SECONDS = 3600
_SHOWN_CHARACTERS = 2000
_MAX_DOCUMENT_BYTES = 4 << 20


def build_context(
    directory: Path,
    repository: Repository,
    tag: str,
    architectures: Sequence[str],
    *,
    scan: Scan,
    engine: str | None = None,
) -> PushedImage:
    """Build, check and push the image of a context, and then tag it.

    Args:
        engine: Address of the engine that builds. Defaults to that of the command `docker`.

    Raises:
        ContextBuildError: If there is no engine, or the build fails.
        ImageCheckError: If the image is not hardened. Nothing is pushed.
        ScanError: If the scanner rejects the image. It gets no tag.
        RegistryError: If the registry fails.
    """
    with tempfile.TemporaryDirectory(prefix="berth-build-") as scratch:
        parts = {}
        for architecture in architectures:
            work = Path(scratch, architecture)
            work.mkdir()
            archive = _run_build(directory, architecture, work, engine)
            parts[architecture] = _read_part(directory, archive, architecture, work)
        whole = documents.index_or_manifest({name: p.manifest for name, p in parts.items()})
        push_parts(repository, parts.values(), whole)
    reference = f"{repository.name}@{whole.digest}"
    scanner = scan_image(scan, reference, architectures)
    repository.push_manifest(whole, tag)
    return PushedImage(
        digest=whole.digest,
        reference=reference,
        scanner=scanner,
        reports={name: part.report for name, part in parts.items()},
    )


def _run_build(directory: Path, architecture: str, work: Path, engine: str | None) -> Path:
    """Build the context and return the archive of the image."""
    identity, archive = work / "image-id", work / "image.tar"
    platform = f"linux/{architecture}"
    environment = dict(os.environ) if engine is None else _select_engine(engine)
    build = ("build", "--platform", platform, "--iidfile", str(identity), str(directory))
    _run(directory, environment, *build)
    _run(directory, environment, "save", "--output", str(archive), identity.read_text().strip())
    return archive


def _select_engine(engine: str) -> dict[str, str]:
    """Return variables with which the command `docker` uses an engine, also one on a server."""
    from pulumi_berth.docker.ssh_tunnel import TunnelError, forward_engine, is_server

    try:
        host = forward_engine(engine) if is_server(engine) else engine
    except TunnelError as error:
        raise ContextBuildError(f"{error} Nothing was built.") from error
    return {**os.environ, "DOCKER_HOST": host}


def _run(directory: Path, environment: dict[str, str], *arguments: str) -> None:
    try:
        result = subprocess.run(
            [_DOCKER, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ContextBuildError(
            f"{directory}: building it needs the command '{_DOCKER}' and a Docker engine. Install "
            "them, set DOCKER_HOST to an engine, or build the image elsewhere and set "
            "container.image."
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContextBuildError(
            f"{directory}: '{_DOCKER} {arguments[0]}' failed: {error}"
        ) from error
    if result.returncode:
        output = (result.stdout + result.stderr).strip()[-_SHOWN_CHARACTERS:]
        raise ContextBuildError(
            f"{directory}: '{_DOCKER} {arguments[0]}' exited with status {result.returncode}. "
            f"Correct what its output says:\n{output}"
        )


def _read_part(directory: Path, archive: Path, architecture: str, work: Path) -> Part:
    """Return the image in an archive of `docker save`, after its checks.

    The archive lists its parts in `manifest.json`, also where it is an OCI layout as well:
    https://github.com/moby/docker-image-spec/blob/main/v1.2.md#combined-image-json--filesystem-changeset-format
    """
    try:
        with tarfile.open(archive) as tar:
            (entry,) = json.loads(_read_member(tar, "manifest.json"))
            config = Document(media_type=documents.CONFIG, data=_read_member(tar, entry["Config"]))
            layers = [
                _read_layer(tar, name, work / f"layer-{number}.tar.gz")
                for number, name in enumerate(entry["Layers"])
            ]
        content: dict[str, Any] = json.loads(config.data)
        diff_ids = content["rootfs"]["diff_ids"]
        found = read_contents([layer.path for layer in layers], diff_ids)
    except (tarfile.TarError, ValueError, LookupError, TypeError, LayerError) as error:
        raise ContextBuildError(
            f"{directory}: the engine's archive of the image is not valid: {error}"
        ) from error
    if content.get("architecture") != architecture:
        raise ContextBuildError(
            f"{directory}: the engine built an image for {content.get('architecture')}, not for "
            f"{architecture}. Use an engine that can build for it, or change images.architectures."
        )
    report = build_report(found, content, sum(layer.size for layer in layers))
    if defects := list(find_defects(report)):
        raise ImageCheckError(
            f"The image of {directory} ({architecture}) failed its checks: {'; '.join(defects)}. "
            "Nothing was pushed. Use a base without these, such as a distroless one, in its last "
            "stage, and no ENV with a secret."
        )
    return Part(
        base=BaseImage(),
        added=layers,
        config=config,
        manifest=documents.build_manifest([], config, layers, {}),
        contents=found,
        report=asdict(report),
    )


def _read_layer(tar: tarfile.TarFile, name: str, path: Path) -> Layer:
    # Older engines save equal layers as links.
    member = tar.extractfile(name)
    if member is None:
        raise LookupError(f"{name} is not a file")
    return compress_archive(member, path)


def _read_member(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise LookupError(f"{name} is not a file")
    data = member.read(_MAX_DOCUMENT_BYTES + 1)
    if len(data) > _MAX_DOCUMENT_BYTES:
        raise ValueError(f"{name} is longer than {_MAX_DOCUMENT_BYTES} bytes")
    return data
