"""`pulumi-resource-berth`: the program that runs the components for every Pulumi language.

The engine starts it from the PATH for a program that declares a resource of type `berth:...`.
"""

import sys
from importlib.resources import files

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult, Provider, main
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.experimental.util import camel_case
from pulumi.provider.server import ComponentInitError

import pulumi_berth
from pulumi_berth.component_args import ArgumentError

NAME, VERSION = "berth", "0.1.0"
COMPONENTS = (
    "DockerHosting",
    "KubernetesBerth",
    "KubernetesHosting",
    "LocalHosting",
    "ModelRegistry",
    "Network",
    "ServingImage",
)


class BerthProvider(Provider):
    """Pulumi's host of components, but it imports only the component that it constructs.

    A program in YAML starts it several times, mostly for the schema. To import all components takes
    two seconds.
    """

    def __init__(self) -> None:
        super().__init__(VERSION, (files(pulumi_berth) / "schema.json").read_text(encoding="utf-8"))

    def construct(
        self,
        name: str,
        resource_type: str,
        inputs: pulumi.Inputs,
        options: pulumi.ResourceOptions | None = None,
    ) -> ConstructResult:
        """Construct a component.

        Raises:
            InputPropertiesError: With the path of each invalid argument, and the reason.
        """
        host = create_host(resource_type.rpartition(":")[2])
        try:
            return host.construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            if not isinstance(error.inner, ArgumentError):
                raise
            raise InputPropertiesError(
                "invalid arguments",
                [
                    {"property_path": camel_case(path), "reason": reason}
                    for path, reason in error.inner.problems
                ],
            ) from None


def create_host(*components: str) -> ComponentProvider:
    """Return Pulumi's own host of some components, which derives their schema from the code."""
    classes = [getattr(pulumi_berth, component) for component in components]
    return ComponentProvider(classes, NAME, version=VERSION)


def run() -> None:
    """Serve the components until the engine ends this process."""
    main(BerthProvider(), sys.argv[1:])
