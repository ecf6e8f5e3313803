"""Rules that span several sections. `Platform.rules` contains the rules of one platform.

Each rule is a function. docs/reference/specification.md lists its docstring. Its parameters are
named after the sections that it reads, so that it can check valid sections while others are
invalid.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth.spec.data import DataSpec
from berth.spec.edge import EdgeSpec
from berth.spec.errors import Problem
from berth.spec.gateway import GatewaySpec
from berth.spec.models import ModelSpec


def find_problems(sections: Mapping[str, Any]) -> Iterator[Problem]:
    """Check every rule whose sections are all present.

    Args:
        sections: Typed sections by name.
    """
    for rule in (*RULES, *_platform_rules(sections)):
        parameters = inspect.signature(rule).parameters
        if all(name in sections for name in parameters):
            yield from rule(**{name: sections[name] for name in parameters})


def _platform_rules(sections: Mapping[str, Any]) -> tuple[Callable[..., Iterator[Problem]], ...]:
    # Import lazily, because the platforms import the specification.
    from berth.platforms import get_platform

    return get_platform(sections["platform"]).rules if "platform" in sections else ()


def _check_model_names(
    models: dict[str, ModelSpec], edge: EdgeSpec, data: DataSpec
) -> Iterator[Problem]:
    """Each model that an edge site or a dataset lists is a model of the stack."""
    references = [
        (("edge", "sites", name, "models", index), model)
        for name, site in edge.sites.items()
        for index, model in enumerate(site.models)
    ] + [
        (("data", "datasets", name, "models", index), model)
        for name, dataset in data.datasets.items()
        for index, model in enumerate(dataset.models)
    ]
    for path, model in references:
        if model not in models:
            yield Problem(path, f"is not a model of this stack; known models: {', '.join(models)}")


def _check_cdn_stack(edge: EdgeSpec) -> Iterator[Problem]:
    """`edge.latency_routing.cdn_stack` is one of `edge.latency_routing.stacks`. It cannot be
    combined with `edge.cdn`, because one distribution serves all Regions."""
    if edge.latency_routing is None or edge.latency_routing.cdn_stack is None:
        return
    path = ("edge", "latency_routing", "cdn_stack")
    if edge.cdn is not None:
        yield Problem(path, "cannot be combined with edge.cdn; remove one of them")
    if edge.latency_routing.cdn_stack not in edge.latency_routing.stacks:
        yield Problem(
            path,
            "is not in edge.latency_routing.stacks; add it there, or use one of: "
            f"{', '.join(edge.latency_routing.stacks) or 'none'}",
        )


def _check_client_models(models: dict[str, ModelSpec], gateway: GatewaySpec) -> Iterator[Problem]:
    """Each model in the `models` of a client is a model of the stack."""
    for name, client in gateway.clients.items():
        for index, model in enumerate(client.models or ()):
            if model not in models:
                yield Problem(
                    ("gateway", "clients", name, "models", index),
                    f"is not a model of this stack; known models: {', '.join(models)}",
                )


RULES: tuple[Callable[..., Iterator[Problem]], ...] = (
    _check_model_names,
    _check_client_models,
    _check_cdn_stack,
)
