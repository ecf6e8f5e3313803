"""ContextImage: the image that a Docker engine builds from a directory, in the stack's registry."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.images.built_image import ImageSettings, describe_scan
from pulumi_berth.own_container_rules import digest_context
from pulumi_berth.providers import BuiltImageProvider
from pulumi_berth.values import default_to


class ContextImage(Resource, module="berth", name="ContextImage"):
    """An image that was built from a context, and that passed the checks of every built image.

    If the registry already has an image of the same files, only the checks run, without an engine.

    Attributes:
        reference: `registry/name@sha256:...`.
        report: Contents of the image for each architecture, and the scanner that passed it.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        *,
        settings: ImageSettings,
        repository: str,
        directory: str,
        engine: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the image.

        Args:
            directory: The context.
            engine: Address of the engine that builds. Defaults to that of the command `docker`.
        """
        context = Path(directory).resolve()
        super().__init__(
            BuiltImageProvider(),
            name,
            {
                "repository": pulumi.Output.concat(settings.registry, "/", repository),
                "plain_http": default_to(settings.plain_http, False),
                "directory": str(context),
                "context_digest": digest_context(context),
                "architectures": list(settings.architectures or ["amd64"]),
                "scan": describe_scan(settings),
                **({} if engine is None else {"engine": engine}),
                **({"pull_only": True} if settings.pull_only else {}),
                "reference": None,
                "digest": None,
                "report": None,
            },
            opts,
        )
