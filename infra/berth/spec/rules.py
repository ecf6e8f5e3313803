"""Rules that span sections. Those of one platform are in its record, `Platform.rules`.

Each is a function: its docstring is the rule in docs/reference/specification.md, its parameters are
named after the sections that it reads, so that sound sections can be held against it while others
are not.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth.spec.data import DataSpec
from berth.spec.edge import EdgeSpec
from berth.spec.errors import Problem
from berth.spec.models import ModelSpec


def problems(sections: Mapping[str, Any]) -> Iterator[Problem]:
    """Every broken rule for which all sections are there.

    Args:
        sections: name -> the section, typed.
    """
    for rule in (*RULES, *_platform_rules(sections)):
        needed = inspect.signature(rule).parameters
        if all(name in sections for name in needed):
            yield from rule(**{name: sections[name] for name in needed})


def _platform_rules(sections: Mapping[str, Any]) -> tuple[Callable[..., Iterator[Problem]], ...]:
    # The platforms import the specification.
    from berth.platforms import get_platform

    return get_platform(sections["platform"]).rules if "platform" in sections else ()


def _known_models(
    models: dict[str, ModelSpec], edge: EdgeSpec, data: DataSpec
) -> Iterator[Problem]:
    """The models that an edge site or a set of data names are models of the stack."""
    named = [
        (("edge", "sites", name, "models", index), model)
        for name, site in edge.sites.items()
        for index, model in enumerate(site.models)
    ] + [
        (("data", "datasets", name, "models", index), model)
        for name, dataset in data.datasets.items()
        for index, model in enumerate(dataset.models)
    ]
    for path, model in named:
        if model not in models:
            yield Problem(path, f"is not a model of this stack; one of {', '.join(models)}")


def _one_edge_before_regions(edge: EdgeSpec) -> Iterator[Problem]:
    """`edge.latency_routing.cdn_stack` is one of `edge.latency_routing.stacks`, and not
    on a stack with `edge.cdn`: one distribution is in front of the regions."""
    if edge.latency_routing is None or edge.latency_routing.cdn_stack is None:
        return
    path = ("edge", "latency_routing", "cdn_stack")
    if edge.cdn is not None:
        yield Problem(path, "does not go with edge.cdn: this stack has the distribution itself")
    if edge.latency_routing.cdn_stack not in edge.latency_routing.stacks:
        yield Problem(
            path, f"is not in edge.latency_routing.stacks: {', '.join(edge.latency_routing.stacks)}"
        )


RULES: tuple[Callable[..., Iterator[Problem]], ...] = (_known_models, _one_edge_before_regions)
