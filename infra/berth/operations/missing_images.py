"""Images of a deployed release that a registry no longer has, so that a rollback cannot run them.

An image that the stack builds itself is built again from the same files, with the same digest. An
image that the configuration pins, or that another stack has pushed, is not.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from berth.operations.resource_changes import Operation, ResourceChange
from pulumi_berth.oci.image_store import open_repository
from pulumi_berth.oci.registry import RegistryError, split_reference

HasImage = Callable[[str], bool | None]
"""Returns whether a reference exists, or None if its registry gives no answer."""

_REFERENCE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9.:/_-]*/[a-z0-9._/-]+(?::[\w.-]+)?@sha256:[0-9a-f]{64}"
)
_IMAGE_TYPES = (":BuiltImage", ":CopiedImage")
_PARALLEL = 8


def find_missing_images(
    changes: Iterable[ResourceChange],
    resources: Sequence[Mapping[str, Any]],
    has_image: HasImage,
) -> dict[str, str]:
    """Return the URN of each changed resource that runs a missing image, and the reason.

    Only registries to which the stack's images belong are asked.

    Args:
        resources: The resources in the state; see `state_file.list_resources`.
    """
    ended = {change.urn for change in changes if change.operation is not Operation.CREATE}
    images = [entry for entry in resources if is_image(entry)]
    built = {
        str(entry["outputs"].get("reference"))
        for entry in images
        if not entry["outputs"].get("pull_only")
    }
    hosts = find_hosts(resources)
    needed = {
        entry["urn"]: sorted(find_references(entry, hosts) - built)
        for entry in resources
        if entry["urn"] in ended
    }
    references = sorted({reference for each in needed.values() for reference in each})
    with ThreadPoolExecutor(_PARALLEL) as pool:
        exists = dict(zip(references, pool.map(has_image, references), strict=True))
    return {
        urn: f"the registry no longer has {reference}"
        for urn, each in needed.items()
        for reference in each
        if exists[reference] is False
    }


def is_image(resource: Mapping[str, Any]) -> bool:
    """Return whether a resource is an image in the stack's registry."""
    return str(resource["type"]).endswith(_IMAGE_TYPES)


def find_hosts(resources: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the hosts of the registries to which the stack's images belong."""
    return {
        str(entry["outputs"].get("repository")).partition("/")[0]
        for entry in resources
        if is_image(entry)
    }


def has_image(reference: str, *, plain_http: bool) -> bool | None:
    """Return whether a registry has an image, or None if it gives no answer."""
    name, digest = split_reference(reference)
    try:
        return open_repository(name, plain_http=plain_http).digest_of(digest) is not None
    except RegistryError:
        return None


def find_references(resource: Mapping[str, Any], hosts: set[str]) -> set[str]:
    """Return the references with a digest in what a resource declares, of these hosts."""
    return {
        reference
        for reference in _list_references(resource)
        if reference.partition("/")[0] in hosts
    }


def _list_references(resource: Mapping[str, Any]) -> Iterator[str]:
    """Yield the references with a digest in what a resource declares."""
    for key in ("inputs", "outputs"):
        yield from _REFERENCE.findall(json.dumps(resource.get(key) or {}))
