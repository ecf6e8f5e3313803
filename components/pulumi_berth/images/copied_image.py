"""CopiedImage: an image of another project, copied into the stack's own registry.

Nodes then pull every image from one registry. They need no route to other registries and to the
storage behind them, and no public registry limits them: all nodes behind a NAT gateway share one
anonymous allowance of Docker Hub (https://docs.docker.com/docker-hub/usage/).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.images.base_reader import choose_manifest
from pulumi_berth.images.built_image import ImageSettings, describe_scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.copy import copy_manifest
from pulumi_berth.oci.descriptor import decode_document
from pulumi_berth.oci.registry import Repository, get_registry_host, split_reference
from pulumi_berth.providers import BuiltImageProvider
from pulumi_berth.values import default_to

T = TypeVar("T")


class CopiedImage(Resource, module="berth", name="CopiedImage"):
    """A copy of an image for the architectures of the stack, with verified digests.

    For one architecture, the copy has the digest of the manifest in the source's index. For
    several, it has an index of these architectures.

    Args:
        is_checked: Whether the copy must pass the checks of a built image before it gets its tag.

    Attributes:
        reference: `registry/name@sha256:...` of the copy.
        report: Contents of a checked image for each architecture, and the scanner that passed it.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        *,
        settings: ImageSettings,
        repository: str,
        source: pulumi.Input[str],
        is_checked: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            BuiltImageProvider(),
            name,
            {
                "repository": pulumi.Output.concat(settings.registry, "/", repository),
                "plain_http": default_to(settings.plain_http, False),
                "copy_of": source,
                "architectures": list(settings.architectures or ["amd64"]),
                **({"pull_only": True} if settings.pull_only else {}),
                **({"scan": describe_scan(settings), "report": None} if is_checked else {}),
                "reference": None,
                "digest": None,
            },
            opts,
        )


def copy_image(
    source: str,
    target: Repository,
    tag: str,
    architectures: Sequence[str],
    check: Callable[[str], T],
) -> tuple[str, T]:
    """Copy an image unless the target has the tag, and return its digest and the check's result.

    Args:
        source: `registry/name[:tag][@sha256:...]`. Without a digest, the tag's image.
        check: Called with the digest of the copy before it gets its tag.

    Raises:
        ImageCheckError: If the image does not support an architecture.
        RegistryContentError: If the source is not an image.
        RegistryError: If a registry fails, or a part differs from its digest.
    """
    existing = target.digest_of(tag)
    if existing is not None:
        return existing, check(existing)
    name, digest = split_reference(source)
    host, _, path = name.partition("/")
    origin = Repository(
        name=f"{get_registry_host(host)}/{path}",
        plain_http=target.plain_http and host == target.name.partition("/")[0],
    )
    document = origin.manifest(digest or source.rpartition(":")[2])
    content = decode_document(document.data)
    if "manifests" not in content:
        copy_manifest(document, origin, target)
        whole = document
    else:
        manifests = {}
        for architecture in architectures:
            entry = choose_manifest(source, content, architecture)
            manifests[architecture] = origin.manifest(entry.digest, entry.size)
            copy_manifest(manifests[architecture], origin, target)
        whole = documents.index_or_manifest(manifests)
    target.push_manifest(whole)
    result = check(whole.digest)
    target.push_manifest(whole, tag)
    return whole.digest, result
