"""`berth models --bom`: the bill of materials of a version, with the image that a stack runs."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.spec import HostingSpec, version_directory
from berth_protocol.model_card import digest, read_card, verify_files
from pulumi_berth.images.ml_bom import BomImage, build_ml_bom, read_bom_image
from pulumi_berth.oci.image_store import open_repository
from pulumi_berth.oci.registry import RegistryError, split_reference


def build_version_bom(
    root: Path,
    model: str,
    version: str,
    *,
    outputs: Mapping[str, Any] | None,
    spec: HostingSpec | None,
) -> bytes:
    """Return the bill of materials of a packaged version.

    Args:
        outputs: Outputs of the stack whose image is included. None to describe only the model.
        spec: Specification of that stack.

    Raises:
        CardError: If the files of the version differ from its card.
        OperationError: If the stack does not run an image of these files, or the image has no SBOM.
    """
    path = None
    if spec is not None and model in spec.models and version in spec.models[model].versions:
        path = spec.models[model].versions[version].path
    directory = version_directory(root, model, version, path)
    card = read_card(directory)
    verify_files(directory, card)
    own = digest(directory)
    image = None
    if outputs is not None and spec is not None:
        image = _read_image(outputs, spec, model, version, own)
    return build_ml_bom(card, own, importlib.metadata.version("berth"), image)


def _read_image(
    outputs: Mapping[str, Any], spec: HostingSpec, model: str, version: str, own: str
) -> BomImage:
    name = f"{model} {version}"
    berth = outputs.get("models", {}).get(model, {}).get("versions", {}).get(version)
    if berth is None or not berth.get("image"):
        raise OperationError(
            f"The stack runs no image of {name}. Choose another stack, or omit -s to describe only "
            "the model."
        )
    if berth.get("digest") != own:
        raise OperationError(
            f"The stack runs {berth.get('digest')} as {name}, and its directory is {own}. Deploy "
            "the packaged files, or omit -s to describe only the model."
        )
    reference = str(berth["image"])
    repository = open_repository(split_reference(reference)[0], plain_http=spec.registry.plain_http)
    try:
        return read_bom_image(repository, reference)
    except RegistryError as error:
        raise OperationError(str(error)) from error
