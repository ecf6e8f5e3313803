"""Bills of materials of model versions as CycloneDX 1.6 JSON: the model, and the image with it.

https://cyclonedx.org/docs/1.6/json/, https://cyclonedx.org/capabilities/mlbom/
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from berth_protocol.model_card import CARD_FILE, MODEL_FILE, ModelCard, Tensor
from pulumi_berth.images.sbom import MEDIA_TYPE as SPDX_TYPE
from pulumi_berth.oci.descriptor import (
    MAX_DOCUMENT_BYTES,
    RegistryContentError,
    decode_document,
    parse_descriptors,
)
from pulumi_berth.oci.registry import RegistryError, Repository, split_reference

SPEC_VERSION = "1.6"
_MODEL_REF = "model"
_IMAGE_REF = "image"
_NO_LICENSE = "none stated"


@dataclass(frozen=True, kw_only=True)
class BomPackage:
    """A package of an image, as its SBOM lists it.

    Attributes:
        purl: Package URL.
        license: SPDX expression. Empty if the package states none.
    """

    name: str
    version: str
    purl: str
    license: str


@dataclass(frozen=True, kw_only=True)
class BomImage:
    """An image and its packages for all architectures.

    Attributes:
        reference: `registry/name@sha256:...`.
    """

    reference: str
    packages: Sequence[BomPackage]


def build_ml_bom(card: ModelCard, digest: str, berth_version: str, image: BomImage | None) -> bytes:
    """Build the bill of materials of a version. The same arguments give the same bytes.

    Args:
        digest: Digest of the version.
        image: The image that runs the version. None for the model only.
    """
    model = _describe_model(card, digest)
    packages = sorted(image.packages, key=lambda each: each.purl) if image else []
    main = model if image is None else _describe_image(image)
    components = [] if image is None else [model, *map(_describe_package, packages)]
    dependencies: list[dict[str, Any]] = [{"ref": _MODEL_REF}]
    if image is not None:
        refs = [_MODEL_REF, *(each.purl for each in packages)]
        dependencies.append({"ref": _IMAGE_REF, "dependsOn": refs})
    identity = f"{digest} {image.reference if image else ''}"
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, identity).urn,
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "berth", "version": berth_version}]
            },
            "component": main,
        },
        "components": components,
        "dependencies": dependencies,
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _describe_model(card: ModelCard, digest: str) -> dict[str, Any]:
    files = {CARD_FILE: digest, **card.files}
    source = card.source
    properties = {
        "berth:digest": digest,
        "berth:framework": f"{source.framework} {source.framework_version}".strip(),
        "berth:converter": source.converter,
        "berth:trained_by": source.trained_by,
        "berth:processing": card.processing,
    }
    parameters: dict[str, Any] = {
        "inputs": [{"format": _format(tensor)} for tensor in card.inputs],
        "outputs": [{"format": _format(tensor)} for tensor in card.outputs],
    }
    if source.dataset:
        parameters["datasets"] = [{"type": "dataset", "name": source.dataset}]
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL_REF,
        "name": card.name,
        "version": card.version,
        **({"description": card.description} if card.description else {}),
        "hashes": [_hash(files[MODEL_FILE])],
        "modelCard": {
            "modelParameters": parameters,
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {"type": name, "value": repr(value)} for name, value in card.metrics.items()
                ]
            },
        },
        "properties": [
            {"name": name, "value": value} for name, value in properties.items() if value
        ],
        "components": [
            {"type": "file", "name": name, "hashes": [_hash(value)]}
            for name, value in files.items()
        ],
    }


def _format(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.datatype} {tensor.shape}"


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256.removeprefix("sha256:")}


def _describe_image(image: BomImage) -> dict[str, Any]:
    name, digest = split_reference(image.reference)
    base = name.rpartition("/")[2]
    purl = f"pkg:oci/{base}@{quote(digest, safe='')}?repository_url={quote(name, safe='')}"
    return {
        "type": "container",
        "bom-ref": _IMAGE_REF,
        "name": name,
        "version": digest,
        "purl": purl,
        "hashes": [_hash(digest)],
    }


def _describe_package(package: BomPackage) -> dict[str, Any]:
    licenses = [{"expression": package.license}] if package.license else None
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        **({"licenses": licenses} if licenses else {}),
    }


def read_bom_image(repository: Repository, reference: str) -> BomImage:
    """Return an image with the packages in the SBOMs next to it.

    Raises:
        RegistryError: If the registry fails, or has no SBOM of the image.
    """
    digest = split_reference(reference)[1]
    packages: dict[str, BomPackage] = {}
    try:
        content = decode_document(repository.manifest(digest).data)
        manifests = [digest]
        if "manifests" in content:
            manifests = [each.digest for each in parse_descriptors(content, "manifests")]
        for manifest in manifests:
            for package in _read_packages(repository, manifest):
                packages.setdefault(package.purl, package)
    except RegistryContentError as error:
        raise RegistryError(f"The SBOM of {reference} is not valid: {error}.") from error
    return BomImage(reference=reference, packages=list(packages.values()))


def _read_packages(repository: Repository, manifest: str) -> Iterator[BomPackage]:
    tag = f"{manifest.replace(':', '-')}.sbom"
    if repository.digest_of(tag) is None:
        raise RegistryError(
            f"{repository.name} has no SBOM of {manifest} (tag {tag}). Only images that Berth "
            "builds have one."
        )
    content = decode_document(repository.manifest(tag).data)
    for descriptor in parse_descriptors(content, "layers"):
        if descriptor.media_type != SPDX_TYPE or descriptor.size > MAX_DOCUMENT_BYTES:
            raise RegistryContentError(f"a layer is {descriptor.media_type!r}, not {SPDX_TYPE!r}")
        for entry in repository.json_blob(descriptor)["packages"]:
            if package := _parse_package(entry):
                yield package


def _parse_package(entry: Mapping[str, Any]) -> BomPackage | None:
    purls = [
        each["referenceLocator"]
        for each in entry.get("externalRefs") or ()
        if each.get("referenceType") == "purl"
    ]
    if not purls:
        return None  # The image itself.
    text = str(entry.get("licenseComments") or "")
    return BomPackage(
        name=str(entry["name"]),
        version=str(entry.get("versionInfo") or ""),
        purl=str(purls[0]),
        license="" if text == _NO_LICENSE else text,
    )
