"""The record of the docker platform."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from berth.platforms.docker.rules import RULES
from berth.platforms.kept_data import COMMON_DATA, DOCKER_DATA
from berth.platforms.platform import Platform
from berth.platforms.preflight import Finding, Requirement, Status
from berth.platforms.stack_context import LostPart, SkippedPart, StackContext
from berth.spec import HostingSpec


def _check_target(context: StackContext) -> Finding:
    from berth.platforms.docker.target import require_engine

    require_engine(context.spec)
    detail = "A Docker engine responds, and each one that responds is new enough."
    return Finding(check="target", status=Status.PASSED, detail=detail)


def _check_certificate(context: StackContext) -> Finding:
    from berth.platforms.docker.certificate import check_certificate

    return check_certificate(context)


def _list_requirements() -> list[Requirement]:
    return [
        Requirement(name="certificate", check=_check_certificate),
        Requirement(name="target", check=_check_target, stops_checks=True),
    ]


def _preflight(context: StackContext) -> list[Finding]:
    from berth.platforms.docker.preflight import run_checks

    return run_checks(context)


def _find_unreachable_hosts(spec: HostingSpec, root: Path) -> list[SkippedPart]:
    from berth.platforms.docker.hosts import find_unreachable_hosts

    return find_unreachable_hosts(spec, root)


def _find_lost_hosts(
    context: StackContext, resources: Sequence[Mapping[str, Any]]
) -> list[LostPart]:
    from berth.platforms.docker.lost_hosts import find_lost_hosts

    return find_lost_hosts(context, resources)


def _check_ownership(
    context: StackContext,
    owner_ids: Mapping[str, str],  # noqa: ARG001
    *,
    for_removal: bool,
) -> None:
    from berth.platforms.docker.target import require_free_ports

    if not for_removal:
        require_free_ports(context)


def _deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    from berth.platforms.docker.deploy import deploy

    return deploy(spec, stack=stack, root=root)


def _observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    from berth.platforms.docker.observe import observe

    return observe(context, outputs)


def _read_logs(
    context: StackContext, outputs: dict[str, Any], **selection: Any
) -> Iterator[tuple[str, str]]:
    from berth.platforms.docker.logs import read_logs

    return read_logs(context, outputs, **selection)


def _read_captured(
    context: StackContext, outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    from berth.platforms.docker.metrics import read_captured

    return read_captured(context, outputs, model, version)


def _read_metrics(context: StackContext, outputs: dict[str, Any]) -> Mapping[str, str]:
    from berth.platforms.docker.metrics import read_metrics

    return read_metrics(context, outputs)


def _shift_traffic(
    context: StackContext, resources: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> list[str]:
    from berth.platforms.docker.shift_traffic import shift_traffic

    wanted = {name: context.spec.models[name] for name in models}
    return shift_traffic(resources, wanted)


def _find_drift(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    from berth.platforms.docker.drift import find_drift

    return find_drift(context, resources)


def _finish_update(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    from berth.platforms.docker.drift import finish_update

    return finish_update(context, resources)


def _explain_failure(context: StackContext) -> list[str]:
    from berth.platforms.docker.observe import explain_failure

    return explain_failure(context)


def _has_image(context: StackContext, reference: str) -> bool | None:
    from berth.platforms.docker.kept_images import has_image

    return has_image(context, reference)


PLATFORM = Platform(
    name="docker",
    providers=("docker",),
    sections=frozenset({"docker", "images", "registry"}),
    rules=RULES,
    list_requirements=_list_requirements,
    preflight=_preflight,
    find_unreachable_parts=_find_unreachable_hosts,
    find_lost_parts=_find_lost_hosts,
    check_ownership=_check_ownership,
    deploy=_deploy,
    observe=_observe,
    read_logs=_read_logs,
    read_metrics=_read_metrics,
    read_captured=_read_captured,
    shift_traffic=_shift_traffic,
    has_external_resources=True,
    find_drift=_find_drift,
    finish_update=_finish_update,
    explain_failure=_explain_failure,
    has_image=_has_image,
    kept_data={**COMMON_DATA, **DOCKER_DATA},
)
