"""The inputs of a `BuiltImage`: their tag, their changes, and the image that they describe."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulumi_berth.datasets.bucket_dataset import BucketDataset
from pulumi_berth.images import layers
from pulumi_berth.images.build import Image, PushedImage, build
from pulumi_berth.images.built_image import LayerKind
from pulumi_berth.images.context_build import build_context
from pulumi_berth.images.copied_image import copy_image
from pulumi_berth.images.pushed_image import check_pushed, find_pushed, require_pushed
from pulumi_berth.images.scan import Scan
from pulumi_berth.oci.documents import RunConfig
from pulumi_berth.oci.image_store import open_repository
from pulumi_berth.oci.layer import Layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.own_container_rules import ContextBuildError, digest_context
from pulumi_berth.program_source import package_digest
from pulumi_berth.values import restore_integers

# The inputs that decide the content of the image.
_CONTENT = (
    *("repository", "base", "layers", "architectures", "run", "annotations", "copy_of"),
    "context_digest",
)
_CHECKS = ("scan",)
# Layers that are identified by their digest, wherever the content comes from. The stacks dev and
# prod have the same dataset in different buckets.
_FROM_ELSEWHERE = (LayerKind.DATASET, LayerKind.BUCKET_DATASET)
_BUILDERS = ("pulumi_berth.images", "pulumi_berth.oci")
_TAG_DIGITS = 16
# A registry keeps images with this prefix: see pulumi_berth/aws/model_registry.py.
_RELEASE = "release-"

_FIX_OWN = (
    "Build it on a base without these, such as Berth's or a distroless one, and without secrets;"
    " see docs/how-to/use-your-own-container.md."
)


def content_tag(inputs: Mapping[str, Any]) -> str:
    """Return the tag of the image's content.

    Equal inputs give equal tags on every machine, and in every copy of a registry: of the base
    image, only the digest counts. Another version of the code that builds layers gives another tag,
    because a tag can never move.
    """
    content = {key: _without_paths(inputs.get(key)) for key in _CONTENT if key != "repository"}
    content["base"] = str(inputs.get("base") or "").rpartition("@")[2]
    content["builder"] = package_digest(*_BUILDERS)
    text = json.dumps(content, sort_keys=True)
    return _RELEASE + hashlib.sha256(text.encode()).hexdigest()[:_TAG_DIGITS]


def find_changes(olds: Mapping[str, Any], news: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the changed inputs that need a new image, and those that need a new check."""
    changed = [
        key
        for key in (*_CONTENT, *_CHECKS)
        if _without_paths(olds.get(key)) != _without_paths(news.get(key))
    ]
    return [key for key in changed if key in _CONTENT], [key for key in changed if key in _CHECKS]


def build_image(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Build, push and check the image, or find and check an image that is already pushed.

    Returns:
        The outputs of the resource: `digest`, `reference` and `report`.
    """
    repository = open_repository(inputs["repository"], plain_http=inputs["plain_http"])
    if inputs.get("copy_of"):
        return _copy(inputs, repository)
    scan = Scan(**inputs["scan"])
    if inputs.get("context_digest"):
        result = _find_or_build_context(inputs, repository, scan)
    elif inputs.get("pull_only"):
        result = find_pushed(repository, content_tag(inputs), inputs["architectures"], scan=scan)
    else:
        result = _build(inputs, repository, scan)
    return {
        "digest": result.digest,
        "reference": result.reference,
        "report": {"scanner": result.scanner, **result.reports},
    }


def _find_or_build_context(
    inputs: Mapping[str, Any], repository: Repository, scan: Scan
) -> PushedImage:
    """Build the image of a context, or find and check the image of the same files."""
    tag = content_tag(inputs)
    if inputs.get("pull_only"):
        digest: str | None = require_pushed(repository, tag)
    else:
        digest = repository.digest_of(tag)
    if digest is not None:
        return check_pushed(repository, digest, inputs["architectures"], scan=scan, fix=_FIX_OWN)
    directory = Path(inputs["directory"])
    if digest_context(directory) != inputs["context_digest"]:
        raise ContextBuildError(
            f"{directory}: the files changed while the update ran. Run the command again."
        )
    return build_context(
        directory,
        repository,
        tag,
        inputs["architectures"],
        scan=scan,
        engine=inputs.get("engine"),
    )


def _copy(inputs: Mapping[str, Any], repository: Repository) -> dict[str, Any]:
    """Copy an image of another project, or find the copy that another stack made."""
    tag, scan = content_tag(inputs), inputs.get("scan")

    def check(digest: str) -> dict[str, Any]:
        if scan is None:
            return {}
        image = check_pushed(
            repository, digest, inputs["architectures"], scan=Scan(**scan), fix=_FIX_OWN
        )
        return {"report": {"scanner": image.scanner, **image.reports}}

    if inputs.get("pull_only"):
        digest = require_pushed(repository, tag)
        report = check(digest)
    else:
        digest, report = copy_image(
            inputs["copy_of"], repository, tag, inputs["architectures"], check
        )
    return {"digest": digest, "reference": f"{repository.name}@{digest}", **report}


def _build(inputs: Mapping[str, Any], repository: Repository, scan: Scan) -> PushedImage:
    run = inputs["run"]
    return build(
        Image(
            repository=repository,
            tag=content_tag(inputs),
            base=inputs["base"] or None,
            layers={
                architecture: [
                    (_describe(layer), _layer(inputs, layer, architecture))
                    for layer in inputs["layers"]
                ]
                for architecture in inputs["architectures"]
            },
            run=RunConfig(
                user=layers.USER_AND_GROUP,
                environment=run["environment"],
                entrypoint=run["entrypoint"],
                labels=run["labels"],
            ),
            annotations=inputs["annotations"],
        ),
        scan=scan,
    )


def _describe(layer: Mapping[str, Any]) -> str:
    """Return the description of a layer in the image's history, which is part of its digest."""
    name = "" if layer["kind"] in _FROM_ELSEWHERE else layer["name"]
    return f"{layer['kind']} {name}".strip()


def _layer(inputs: Mapping[str, Any], layer: Mapping[str, Any], architecture: str) -> Layer:
    name, digest = layer["name"], layer["digest"]
    match LayerKind(layer["kind"]):
        case LayerKind.BASE:
            return layers.base_layer(architecture, inputs["mirrors"])
        case LayerKind.VALKEY:
            return layers.valkey_layer(architecture, inputs["mirrors"])
        case LayerKind.RUNTIME:
            return layers.runtime_layer(name, architecture)
        case LayerKind.PROGRAM:
            return layers.program_layer(name)
        case LayerKind.MODEL:
            return layers.model_layer(Path(layer["directory"]), digest)
        case LayerKind.DATASET:
            repository = Repository(name=name, plain_http=inputs["plain_http"])
            return layers.dataset_layer(repository, digest)
        case LayerKind.BUCKET_DATASET:
            return layers.bucket_dataset_layer(BucketDataset.parse(name), digest)


def _without_paths(value: Any) -> Any:
    """Return `value` without the places of models and datasets, which differ between stacks.

    The digest identifies the content. Pulumi returns every number as a float.
    """
    if isinstance(value, dict):
        places = ["directory", *(["name"] if value.get("kind") in _FROM_ELSEWHERE else [])]
        return {key: _without_paths(item) for key, item in value.items() if key not in places}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return restore_integers(value)
