"""Use of an image that another stack has built and pushed: by its tag, verified and checked."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pulumi_berth.images.base_reader import ImageCheckError, read_documents
from pulumi_berth.images.build import PushedImage, scan_image
from pulumi_berth.images.contents import LayerError, read_contents
from pulumi_berth.images.report import build_report, find_defects
from pulumi_berth.images.scan import Scan
from pulumi_berth.oci.descriptor import RegistryContentError
from pulumi_berth.oci.registry import RegistryError, Repository

_FIX_BASE = "Correct its base image in the stack that builds the images."


def find_pushed(
    repository: Repository, tag: str, architectures: Sequence[str], *, scan: Scan
) -> PushedImage:
    """Return the image with the tag of a content, after it passed the checks of a built image.

    Nothing is built or pushed.

    Raises:
        ImageCheckError: If the image is not hardened.
        ScanError: If the scanner rejects the image.
        RegistryError: If the repository has no such image, or the registry fails.
    """
    digest = require_pushed(repository, tag)
    return check_pushed(repository, digest, architectures, scan=scan, fix=_FIX_BASE)


def check_pushed(
    repository: Repository, digest: str, architectures: Sequence[str], *, scan: Scan, fix: str
) -> PushedImage:
    """Return the image with a digest, after it passed the checks of a built image.

    Args:
        fix: What to do about an image that fails, as a sentence.

    Raises:
        ImageCheckError: If the image is not hardened.
        ScanError: If the scanner rejects the image.
        RegistryError: If the registry fails.
    """
    reference = f"{repository.name}@{digest}"
    reports = {
        architecture: _check(reference, architecture, plain_http=repository.plain_http, fix=fix)
        for architecture in architectures
    }
    scanner = scan_image(scan, reference, architectures)
    return PushedImage(digest=digest, reference=reference, scanner=scanner, reports=reports)


def require_pushed(repository: Repository, tag: str) -> str:
    """Return the digest of the image with the tag of a content.

    Raises:
        RegistryError: If the repository has no such image, or the registry fails.
    """
    digest = repository.digest_of(tag)
    if digest is None:
        raise RegistryError(
            f"{repository.name} has no image {tag}: the stack that builds the images has not "
            "pushed this content. Deploy the same models and the same version of Berth to that "
            "stack (registry.source_stack) first."
        )
    return digest


def _check(reference: str, architecture: str, *, plain_http: bool, fix: str) -> dict[str, Any]:
    """Return the report about an image for one architecture."""
    try:
        image = read_documents(reference, architecture, plain_http=plain_http)
        contents = read_contents(image.fetch_layers(), image.list_diff_ids())
    except (RegistryContentError, LayerError) as error:
        raise ImageCheckError(
            f"Image {reference} ({architecture}) is not valid: {error}. Push it again."
        ) from error
    report = build_report(contents, image.config, sum(layer.size for layer in image.layers))
    if defects := list(find_defects(report)):
        raise ImageCheckError(
            f"Image {reference} ({architecture}) failed its checks: {'; '.join(defects)}. {fix}"
        )
    return asdict(report)
