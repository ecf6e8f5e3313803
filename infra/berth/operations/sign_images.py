"""`berth sign-images`: signatures of the images that a stack runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from berth.errors import OperationError
from berth.signing.image import sign_image
from berth.signing.private_key import PrivateKey
from pulumi_berth.oci.image_store import is_stored
from pulumi_berth.oci.registry import RegistryError


@dataclass(frozen=True, kw_only=True)
class SignedImage:
    """A signed image of a version.

    Attributes:
        reference: `registry/name@sha256:...`.
        changed: False if the same key had signed it already.
    """

    model: str
    version: str
    reference: str
    changed: bool


def list_registry_images(outputs: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return the images in a registry that a stack runs, by model and version."""
    return {
        (model, version): image
        for model, entry in outputs.get("models", {}).items()
        for version, berth in entry["versions"].items()
        for image in [str(berth.get("image") or "")]
        if "@sha256:" in image and not is_stored(image)
    }


def sign_stack_images(
    outputs: Mapping[str, Any], key: PrivateKey, model: str | None, *, plain_http: bool
) -> Iterator[SignedImage]:
    """Sign each image that a stack runs, and yield it.

    Args:
        outputs: Outputs of the stack.
        model: Model whose images are signed. None for all.

    Raises:
        OperationError: If the stack runs no image of a registry, or a registry fails. The images
            that were yielded are signed.
    """
    images = {
        name: reference
        for name, reference in list_registry_images(outputs).items()
        if model in (None, name[0])
    }
    if not images:
        subject = "The stack" if model is None else f"Model '{model}' of the stack"
        raise OperationError(
            f"{subject} runs no image of a registry. Set registry.url and run 'berth up', or "
            "correct the stack or the model."
        )
    for (name, version), reference in images.items():
        try:
            changed = sign_image(reference, key, plain_http=plain_http)
        except RegistryError as error:
            raise OperationError(str(error)) from error
        yield SignedImage(model=name, version=version, reference=reference, changed=changed)
