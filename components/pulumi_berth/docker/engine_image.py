"""EngineImage: an image that an engine has, loaded from the store or pulled from a registry."""

import contextlib
from collections.abc import Mapping
from typing import Any

import docker
import pulumi
from docker.errors import APIError, ImageNotFound
from pulumi.dynamic import Resource

from pulumi_berth.docker.engine import EngineError, describe_error, open_engine
from pulumi_berth.images.image_archive import get_engine_name, open_archive, read_stored_image
from pulumi_berth.oci.image_store import is_stored
from pulumi_berth.oci.registry import split_reference
from pulumi_berth.providers import EngineImageProvider

# Names of architectures in an engine that images call differently.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class EngineImage(Resource, module="berth", name="EngineImage"):
    """An image in an engine.

    Attributes:
        image_id: ID by which containers name the image. It is a digest of the image's content.
    """

    image_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        host: str,
        reference: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            EngineImageProvider(),
            name,
            {"host": host, "reference": reference, "image_id": None},
            opts,
        )


def provide_image(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Load or pull the image unless the engine has it.

    Returns:
        The output of the resource, `image_id`.

    Raises:
        EngineError: If the engine cannot load or pull it, or does something else.
        RegistryError: If the store does not have it.
    """
    reference = str(inputs["reference"])
    with open_engine(inputs["host"]) as client:
        if (existing := _find_image(client, reference)) is not None:
            return {"image_id": existing}
        if is_stored(reference):
            with (
                open_archive(reference, _get_architecture(client)) as path,
                path.open("rb") as file,
            ):
                client.images.load(file)
        else:
            _pull(client, reference)
        loaded = _find_image(client, reference)
    if loaded is None:
        raise EngineError(
            f"The engine at {inputs['host']} does not have {reference} after it received it. Check "
            "its log and its disk."
        )
    return {"image_id": loaded}


def has_image(inputs: Mapping[str, Any]) -> bool:
    """Return whether the engine still has the image."""
    with open_engine(inputs["host"]) as client:
        try:
            client.images.get(inputs["image_id"])
        except ImageNotFound:
            return False
    return True


def remove_image(inputs: Mapping[str, Any]) -> None:
    """Remove an image that Berth loaded, unless a container uses it. A pulled one stays."""
    if not is_stored(inputs["reference"]):
        return
    with open_engine(inputs["host"]) as client, contextlib.suppress(APIError):
        # Without force, the engine refuses while a container, also of another stack, uses it.
        client.images.remove(get_engine_name(inputs["reference"]), force=False)


def _find_image(client: docker.DockerClient, reference: str) -> str | None:
    """Return the ID of the image in the engine, or None.

    Raises:
        EngineError: If another image has its name.
    """
    name = get_engine_name(reference) if is_stored(reference) else reference
    try:
        image_id: str = client.images.get(name).id
    except ImageNotFound:
        return None
    if is_stored(reference):
        stored = read_stored_image(reference, _get_architecture(client))
        # An engine with containerd's image store identifies an image by its manifest.
        if image_id not in (stored.config.digest, stored.manifest.digest):
            raise EngineError(
                f"The engine's image {name} is {image_id}, not {stored.config.digest}. Nothing was "
                f"changed. Find out who made it, and remove it with 'docker image rm {name}'."
            )
    return image_id


def _pull(client: docker.DockerClient, reference: str) -> None:
    name, digest = split_reference(reference)
    try:
        # The SDK sends the credentials of `docker login`.
        client.images.pull(name, tag=digest)
    except APIError as error:
        raise EngineError(
            f"The engine could not pull {reference}: {describe_error(error)}. Check the registry, "
            "and whether the engine trusts it: a registry without TLS must be one of its "
            "insecure-registries."
        ) from error


def _get_architecture(client: docker.DockerClient) -> str:
    name = str(client.info()["Architecture"])
    return _ARCHITECTURES.get(name, name)
