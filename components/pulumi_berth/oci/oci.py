"""OCI documents: configuration, manifest and index of an image, as plain data.

https://github.com/opencontainers/image-spec
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pulumi_berth.oci.layer import EPOCH, Layer

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

CREATED = datetime.fromtimestamp(EPOCH, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A JSON document of a registry, with the bytes that its digest is of."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a container of an image starts.

    Attributes:
        user: `uid:gid`.
        environment: variables.
        entrypoint: the program with its arguments, without a shell.
        labels: what the image says of itself.
    """

    user: str
    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    labels: Mapping[str, str]


def document(media_type: str, content: Mapping[str, Any]) -> Document:
    """`content` in the one form that its digest is of."""
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return Document(media_type=media_type, data=data)


def config_on(
    below: Mapping[str, Any], architecture: str, layers: Sequence[tuple[str, Layer]], run: RunConfig
) -> Document:
    """The configuration of an image on top of another.

    Args:
        below: the other's configuration; empty for an image from nothing.
        layers: what each layer is, and the layer; lowest first.
    """
    history = list(below.get("history", []))
    diff_ids = list(below.get("rootfs", {}).get("diff_ids", []))
    inherited = dict(
        item.split("=", 1) for item in (below.get("config") or {}).get("Env") or [] if "=" in item
    )
    environment = {**inherited, **run.environment}
    return document(
        CONFIG,
        {
            "architecture": architecture,
            "os": "linux",
            "created": CREATED,
            "config": {
                "User": run.user,
                "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
                "Entrypoint": list(run.entrypoint),
                "WorkingDir": "/",
                "Labels": dict(run.labels),
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids + [x.diff_id for _, x in layers]},
            "history": history + [{"created": CREATED, "created_by": what} for what, _ in layers],
        },
    )


def manifest_on(
    below: Sequence[Mapping[str, Any]],
    config: Document,
    layers: Sequence[Layer],
    annotations: Mapping[str, str],
) -> Document:
    """The manifest of an image; `below` are the layer descriptors of the one under it."""
    added = [{"mediaType": LAYER, "digest": layer.digest, "size": layer.size} for layer in layers]
    return document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor,
            "layers": [*map(dict, below), *added],
            "annotations": dict(annotations),
        },
    )


def index_of(manifests: Mapping[str, Document]) -> Document:
    """One image for several architectures: architecture -> manifest."""
    return document(
        INDEX,
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {**manifest.descriptor, "platform": {"architecture": architecture, "os": "linux"}}
                for architecture, manifest in sorted(manifests.items())
            ],
        },
    )
