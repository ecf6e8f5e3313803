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


def _read(reference: str, architecture: str, *, plain_http: bool) -> BaseImage:
    name, digest = split_reference(reference)
    repository = Repository(name=name, plain_http=plain_http)
    content = decode_document(repository.manifest(check_digest(digest)).data)
    if "manifests" in content:
        entry = _choose_manifest(reference, content, architecture)
        content = decode_document(repository.manifest(entry.digest, entry.size).data)
    layers = parse_descriptors(content, "layers")
    for layer in layers:
        if layer.media_type not in _LAYER_TYPES:
            raise RegistryContentError(
                f"a layer has the media type {layer.media_type!r}, not gzip or tar"
            )
    document = repository.json_blob(parse_descriptor(content.get("config")))
    config = _read_config(document, architecture, len(layers))
    paths = tuple(repository.blob(layer.digest, layer.size) for layer in layers)
    return BaseImage(layers=tuple(layers), paths=paths, config=config)


def _choose_manifest(reference: str, index: dict[str, Any], architecture: str) -> Descriptor:
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


def _read_config(document: Mapping[str, Any], architecture: str, layers: int) -> BaseConfig:
    if document.get("architecture") != architecture or document.get("os", "linux") != "linux":
        raise RegistryContentError(
            f"it is for {document.get('os')}/{document.get('architecture')}, not for "
            f"linux/{architecture}"
        )
    diff_ids = _get_mapping(document, "rootfs").get("diff_ids")
    if not isinstance(diff_ids, list) or len(diff_ids) != layers:
        raise RegistryContentError(f"its configuration does not list its {layers} layers")
    variables = _get_mapping(document, "config").get("Env") or []
    history = document.get("history") or []
    if not isinstance(variables, list) or not isinstance(history, list):
        raise RegistryContentError("its configuration has an unknown form")
    return BaseConfig(
        environment=inherit_environment(variables),
        diff_ids=[check_digest(str(one)) for one in diff_ids],
        history=list(clean_history(entry for entry in history if isinstance(entry, dict))),
    )


def _get_mapping(container: Any, key: str) -> Mapping[str, Any]:
    value = container.get(key) if isinstance(container, dict) else None
    return value if isinstance(value, dict) else {}
