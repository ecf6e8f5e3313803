"""Construct components as a component host does: from dictionaries with floats."""

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.runtime import mocks

Resources = dict[tuple[str, str], Any]
"""(type, name) of each resource -> its inputs. The type is without its package and module."""


class _Engine(mocks.Mocks):
    """An engine that records the inputs of each resource and returns them with some outputs."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs
        self.resources: Resources = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        self.resources[args.typ.rpartition(":")[2], args.name] = args.inputs
        own = {"name": args.name, "arn": f"arn:{args.name}"}
        return f"{args.name}-id", {**own, **self._outputs, **args.inputs}


def construct(
    component: type[pulumi.ComponentResource],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any] | None = None,
) -> Resources:
    """Construct the component `x` through Pulumi's component provider. Return its resources.

    Args:
        inputs: Inputs as a program in YAML writes them.
        outputs: Outputs of every resource, in addition to its inputs, `name` and `arn`.
    """
    provider = ComponentProvider([component], "berth")

    def create() -> None:
        provider.construct("x", f"berth:index:{component.__name__}", dict(inputs))

    return record(create, outputs)


def record(create: Callable[[], None], outputs: Mapping[str, Any] | None = None) -> Resources:
    """Run a program that creates resources, without an engine. Return the resources.

    Args:
        outputs: Outputs of every resource, in addition to its inputs, `name` and `arn`.
    """
    engine = _Engine(outputs or {})
    mocks.set_mocks(engine)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]  # Pulumi does not type it.
    def run() -> Any:
        create()
        return None

    run()
    return engine.resources
