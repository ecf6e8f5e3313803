"""Required signatures of the images that a stack pulls instead of building them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from berth.spec.errors import Path, format_path
from berth.spec.signatures import read_signers, requires_signatures
from pulumi_berth.oci.registry import RegistryError
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.image_signature import check_image_signature
from pulumi_berth.signing.keys import PublicKey
from pulumi_berth.signing.signers import select_keys

_PARALLEL = 8


@dataclass(frozen=True, kw_only=True)
class PulledImage:
    """An image that a version runs and that the stack does not build.

    Attributes:
        path: Key in the specification.
        reference: `registry/name@sha256:...`. None if the image is found by its content, which
            only an update does.
        plain_http: Whether its registry has no TLS.
    """

    model: str
    version: str
    path: Path
    reference: str | None
    plain_http: bool


def require_signed_images(context: StackContext) -> int:
    """Check the signature of each image that the stack pulls, and return their number.

    Raises:
        SpecError: If no trusted key signed one of them, or its registry gives no answer.
    """
    signers, key_problems = read_signers(context.spec, context.root)
    keys = select_keys(signers)
    images = list(list_pulled_images(context))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        reasons = list(pool.map(lambda image: _find_problem(image, keys), images))
    problems = [f"{format_path(each.path)}: {each.message}" for each in key_problems]
    problems += [
        f"{format_path(image.path)}: {reason}"
        for image, reason in zip(images, reasons, strict=True)
        if reason is not None
    ]
    if problems:
        raise SpecError([*problems, "Nothing was changed."])
    return len(images)


def list_pulled_images(context: StackContext) -> Iterator[PulledImage]:
    """Yield the images that versions run without the stack building them."""
    spec = context.spec
    registry: str | None = None
    for model, entry in spec.models.items():
        for version, version_spec in entry.versions.items():
            path = ("models", model, "versions", version)
            container = version_spec.container
            if container is not None and container.image is not None:
                host = container.image.partition("/")[0]
                own_host = (spec.registry.url or "").partition("/")[0]
                yield PulledImage(
                    model=model,
                    version=version,
                    path=(*path, "container", "image"),
                    reference=container.image,
                    plain_http=spec.registry.plain_http and host == own_host,
                )
            elif version_spec.image is not None or spec.registry.source_stack is not None:
                registry = registry or get_platform(spec.platform).find_registry(context)
                pin = version_spec.image
                yield PulledImage(
                    model=model,
                    version=version,
                    path=(*path, "image"),
                    reference=f"{registry}/{model}@{pin}" if registry and pin else None,
                    plain_http=spec.registry.plain_http,
                )


def find_unsigned_containers(context: StackContext) -> list[PulledImage]:
    """Return the images of own containers that the stack refuses: no trusted key signed them."""
    if not requires_signatures(context.spec):
        return []
    keys = select_keys(read_signers(context.spec, context.root)[0])
    return [
        image
        for image in list_pulled_images(context)
        if image.path[-2] == "container" and _find_problem(image, keys) is not None
    ]


def _find_problem(image: PulledImage, keys: list[PublicKey]) -> str | None:
    if image.reference is None:
        return (
            "is missing, and a required signature needs the digest of an image that another stack "
            "built. Promote the release with 'berth promote', which writes it"
        )
    try:
        check_image_signature(image.reference, keys, plain_http=image.plain_http)
    except (SignatureError, RegistryError) as error:
        return str(error)
    return None
