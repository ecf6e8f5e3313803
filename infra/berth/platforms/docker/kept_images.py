"""Images of earlier releases: in a registry, in the store of this machine, or in the engines."""

from contextlib import ExitStack

from docker.errors import ImageNotFound

from berth.platforms.docker.hosts import open_engines
from berth.platforms.platform import ask_registry
from berth.platforms.stack_context import StackContext
from pulumi_berth.docker.engine import EngineError
from pulumi_berth.images.image_archive import get_engine_name
from pulumi_berth.oci.image_store import is_stored


def has_image(context: StackContext, reference: str) -> bool | None:
    """Return whether each engine that responds has an image, or can receive it.

    None if neither the registry nor an engine gives an answer.
    """
    exists = ask_registry(context, reference)
    if exists:
        return True
    name = get_engine_name(reference) if is_stored(reference) else reference
    try:
        with ExitStack() as stack:
            for client in open_engines(context.spec.docker, stack).values():
                try:
                    client.images.get(name)
                except ImageNotFound:
                    return exists
    except EngineError:
        return exists
    return True
