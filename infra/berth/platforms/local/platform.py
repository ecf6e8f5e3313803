"""The record of the local platform."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from berth.platforms.kept_data import COMMON_DATA
from berth.platforms.local.rules import reject_containers
from berth.platforms.platform import Platform
from berth.platforms.preflight import Requirement
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec


def run_directory(root: Path, stack: str) -> Path:
    """Return the run directory of the stack `stack` of the project in `root`."""
    return root / ".berth" / "run" / stack


def _list_requirements() -> list[Requirement]:
    """Return no requirement: this machine is always reachable."""
    return []


def _deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    from berth.platforms.local.deploy import deploy

    return deploy(spec, stack=stack, root=root)


def _observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    from berth.platforms.local.observe import observe

    return observe(context, outputs)


def _read_logs(
    context: StackContext, outputs: dict[str, Any], **selection: Any
) -> Iterator[tuple[str, str]]:
    from berth.platforms.local.observe import read_logs

    return read_logs(context, outputs, **selection)


def _read_metrics(context: StackContext, outputs: dict[str, Any]) -> Mapping[str, str]:
    from berth.platforms.local.observe import read_metrics

    return read_metrics(context, outputs)


def _read_captured(
    context: StackContext, outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    from berth.platforms.local.observe import read_captured

    return read_captured(context, outputs, model, version)


def _shift_traffic(
    context: StackContext, resources: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> list[str]:
    from berth.platforms.local.shift_traffic import shift_traffic

    wanted = {name: context.spec.models[name] for name in models}
    return shift_traffic(resources, wanted)


def _find_drift(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    from berth.platforms.local.observe import find_drift

    return find_drift(context, resources)


def _build_partial_outputs(
    context: StackContext, resources: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    from berth.platforms.local.observe import build_partial_outputs

    return build_partial_outputs(context, resources)


PLATFORM = Platform(
    name="local",
    sections=frozenset({"local"}),
    rules=(reject_containers,),
    has_security_baseline=False,
    list_requirements=_list_requirements,
    deploy=_deploy,
    observe=_observe,
    find_drift=_find_drift,
    build_partial_outputs=_build_partial_outputs,
    read_logs=_read_logs,
    read_metrics=_read_metrics,
    read_captured=_read_captured,
    shift_traffic=_shift_traffic,
    kept_data=COMMON_DATA,
)
