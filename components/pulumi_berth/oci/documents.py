"""OCI documents: the configuration, manifest and index of an image, as plain data.

https://github.com/opencontainers/image-spec
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pulumi_berth.oci.layer import EPOCH, Layer

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"

CREATED = datetime.fromtimestamp(EPOCH, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A JSON document in a registry. Its digest covers the exact bytes."""

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
    """How a container starts.

    Attributes:
        user: `uid:gid`.
        environment: Environment variables.
        entrypoint: Program and arguments, executed without a shell.
        labels: Labels of the image.
    """

    user: str
    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """What an image takes over from the configuration of its base image.

    Attributes:
        environment: Environment variables.
        diff_ids: Digests of the uncompressed layers.
        history: Descriptions of the layers.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    diff_ids: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()


def encode_document(media_type: str, content: Mapping[str, Any]) -> Document:
    """Encode `content` so that equal content gives an equal digest."""
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return Document(media_type=media_type, data=data)


EMPTY_CONFIG = encode_document(EMPTY, {})
"""The configuration of an artifact that is not an image."""


def build_config(
    base: BaseConfig, architecture: str, layers: Sequence[tuple[str, Layer]], run: RunConfig
) -> Document:
    """Build the configuration of an image on top of a base image.

    Args:
        base: What the image takes over from its base image.
        layers: Description and layer, lowest first.
    """
    history, diff_ids = list(base.history), list(base.diff_ids)
    environment = {**base.environment, **run.environment}
    return encode_document(
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
            "rootfs": {
                "type": "layers",
                "diff_ids": diff_ids + [layer.diff_id for _, layer in layers],
            },
            "history": history
            + [{"created": CREATED, "created_by": description} for description, _ in layers],
        },
    )


def build_manifest(
    base: Sequence[Mapping[str, Any]],
    config: Document,
    layers: Sequence[Layer],
    annotations: Mapping[str, str],
) -> Document:
    """Build the manifest of an image. `base` has the layer descriptors of the base image."""
    added = [{"mediaType": LAYER, "digest": layer.digest, "size": layer.size} for layer in layers]
    return encode_document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor,
            "layers": [*map(dict, base), *added],
            "annotations": dict(annotations),
        },
    )


def build_index(manifests: Mapping[str, Document]) -> Document:
    """Build the index of an image for several architectures: architecture -> manifest."""
    return encode_document(
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


def index_or_manifest(manifests: Mapping[str, Document]) -> Document:
    """Return the manifest of an image for one architecture, or the index for several."""
    if len(manifests) == 1:
        return next(iter(manifests.values()))
    return build_index(manifests)
