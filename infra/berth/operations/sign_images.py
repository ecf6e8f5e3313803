"""`berth sign-images`: signatures of the images that a stack runs, or requires to be signed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth.errors import OperationError
from berth.operations.image_signatures import find_unsigned_containers
from berth.platforms.stack_context import StackContext
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


@dataclass(frozen=True, kw_only=True)
class ImageToSign:
    """An image of a version.

    Attributes:
        reference: `registry/name@sha256:...`.
        plain_http: Whether its registry has no TLS.
    """

    model: str
    version: str
    reference: str
    plain_http: bool


def list_images_to_sign(
    context: StackContext, outputs: Mapping[str, Any], model: str | None
) -> list[ImageToSign]:
    """Return the images that the stack runs, and those that it refuses without a signature.

    The latter are `container.image` of its file, so that a stack can be signed before it is
    deployed. They are last, because another team can own their registry.

    Args:
        outputs: Outputs of the stack. Empty if it is not deployed.
        model: Model whose images are returned. None for all.

    Raises:
        OperationError: If there are none.
    """
    plain_http = context.spec.registry.plain_http
    images = [
        ImageToSign(model=name, version=version, reference=reference, plain_http=plain_http)
        for (name, version), reference in list_registry_images(outputs).items()
    ]
    images += [
        ImageToSign(
            model=image.model,
            version=image.version,
            reference=str(image.reference),
            plain_http=image.plain_http,
        )
        for image in find_unsigned_containers(context)
    ]
    selected = [image for image in images if model in (None, image.model)]
    if not selected:
        subject = "The stack" if model is None else f"Model '{model}' of the stack"
        raise OperationError(
            f"{subject} runs no image of a registry. Set registry.url and run 'berth up', or "
            "correct the stack or the model."
        )
    return selected


def sign_images(images: Sequence[ImageToSign], key: PrivateKey) -> Iterator[SignedImage]:
    """Sign each image, and yield it.

    Raises:
        OperationError: If a registry fails. The images that were yielded are signed.
    """
    for image in images:
        try:
            changed = sign_image(image.reference, key, plain_http=image.plain_http)
        except RegistryError as error:
            raise OperationError(str(error)) from error
        yield SignedImage(
            model=image.model, version=image.version, reference=image.reference, changed=changed
        )
