"""Reading a base image: its layers, and what an image takes over from its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulumi_berth.images.base_environment import (
    BaseEnvironmentError,
    clean_history,
    inherit_environment,
)
from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import (
    Descriptor,
    RegistryContentError,
    check_digest,
    decode_document,
    parse_descriptor,
    parse_descriptors,
)
from pulumi_berth.oci.documents import BaseConfig
from pulumi_berth.oci.image_store import open_repository
from pulumi_berth.oci.registry import Repository, split_reference

# Layers that every runtime and this program can read.
_LAYER_TYPES = (
    documents.LAYER,
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
)


class ImageCheckError(RuntimeError):
    """An image failed a check and must not be deployed."""


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """A base image for one architecture.

    Attributes:
        layers: Descriptors of its layers, lowest first.
        paths: Files with the verified content of the layers.
        config: What an image takes over from its configuration.
    """

    layers: tuple[Descriptor, ...] = ()
    paths: tuple[Path, ...] = ()
    config: BaseConfig = field(default_factory=BaseConfig)


def read_base(reference: str | None, architecture: str, *, plain_http: bool) -> BaseImage:
    """Read a base image and verify every part of it.

    Args:
        reference: `registry/name@sha256:...`. None for an image without a base.
        plain_http: The registry has no TLS.

    Raises:
        ImageCheckError: If the image does not support the architecture, or must not be used.
        RegistryError: If a part is missing or differs from its digest.
    """
    if reference is None:
        return BaseImage()
    try:
        return _read(reference, architecture, plain_http=plain_http)
    except BaseEnvironmentError as error:
        raise ImageCheckError(
            f"Base image {reference} sets the environment variable {error}, which other images "
            "must not take over: it could run other code, send requests elsewhere, or contain a "
            "secret. Remove it from the base image. docs/reference/images.md lists what is taken "
            "over."
        ) from error
    except RegistryContentError as error:
        raise ImageCheckError(
            f"Base image {reference} is not valid: {error}. Use another base image."
        ) from error


@dataclass(frozen=True, kw_only=True)
class ImageDocuments:
    """The verified manifest and configuration of an image for one architecture.

    Attributes:
        repository: Repository of the image.
        layers: Descriptors of its layers, lowest first.
        config: Its configuration.
    """

    repository: Repository
    layers: tuple[Descriptor, ...]
    config: Mapping[str, Any]

    def fetch_layers(self) -> tuple[Path, ...]:
        """Return files with the verified content of the layers."""
        return tuple(self.repository.blob(layer.digest, layer.size) for layer in self.layers)

    def list_diff_ids(self) -> list[str]:
        """Return the digests of the uncompressed layers.

        Raises:
            RegistryContentError: If the configuration does not list one for each layer.
        """
        diff_ids = _get_mapping(self.config, "rootfs").get("diff_ids")
        if not isinstance(diff_ids, list) or len(diff_ids) != len(self.layers):
            raise RegistryContentError(
                f"its configuration does not list its {len(self.layers)} layers"
            )
        return [check_digest(str(one)) for one in diff_ids]


def read_documents(reference: str, architecture: str, *, plain_http: bool) -> ImageDocuments:
    """Read the manifest and the configuration of an image, and verify them.

    Raises:
        ImageCheckError: If the image does not support the architecture.
        RegistryContentError: If a part has an unknown form.
        RegistryError: If a part is missing or differs from its digest.
    """
    name, digest = split_reference(reference)
    repository = open_repository(name, plain_http=plain_http)
    content = decode_document(repository.manifest(check_digest(digest)).data)
    if "manifests" in content:
        entry = choose_manifest(reference, content, architecture)
        content = decode_document(repository.manifest(entry.digest, entry.size).data)
    layers = parse_descriptors(content, "layers")
    for layer in layers:
        if layer.media_type not in _LAYER_TYPES:
            raise RegistryContentError(
                f"a layer has the media type {layer.media_type!r}, not gzip or tar"
            )
    config = repository.json_blob(parse_descriptor(content.get("config")))
    if config.get("architecture") != architecture or config.get("os", "linux") != "linux":
        raise RegistryContentError(
            f"it is for {config.get('os')}/{config.get('architecture')}, not for "
            f"linux/{architecture}"
        )
    return ImageDocuments(repository=repository, layers=tuple(layers), config=config)


def _read(reference: str, architecture: str, *, plain_http: bool) -> BaseImage:
    image = read_documents(reference, architecture, plain_http=plain_http)
    config = _read_config(image)
    return BaseImage(layers=image.layers, paths=image.fetch_layers(), config=config)


def choose_manifest(reference: str, index: dict[str, Any], architecture: str) -> Descriptor:
    """Return the descriptor of the manifest for an architecture in an index.

    Raises:
        ImageCheckError: If the image does not support the architecture.
        RegistryContentError: If the index has an unknown form.
    """
    found: dict[str, Descriptor] = {}
    for entry, descriptor in zip(
        index["manifests"], parse_descriptors(index, "manifests"), strict=True
    ):
        platform = _get_mapping(entry, "platform")
        if platform.get("os", "linux") == "linux":
            found.setdefault(str(platform.get("architecture")), descriptor)
    if architecture not in found:
        raise ImageCheckError(
            f"Base image {reference} does not support {architecture}; it supports "
            f"{', '.join(found)}. Use another base image or change images.architectures."
        )
    return found[architecture]


def _read_config(image: ImageDocuments) -> BaseConfig:
    document = image.config
    diff_ids = image.list_diff_ids()
    variables = _get_mapping(document, "config").get("Env") or []
    history = document.get("history") or []
    if not isinstance(variables, list) or not isinstance(history, list):
        raise RegistryContentError("its configuration has an unknown form")
    return BaseConfig(
        environment=inherit_environment(variables),
        diff_ids=diff_ids,
        history=list(clean_history(entry for entry in history if isinstance(entry, dict))),
    )


def _get_mapping(container: Any, key: str) -> Mapping[str, Any]:
    value = container.get(key) if isinstance(container, dict) else None
    return value if isinstance(value, dict) else {}
