"""The record of platform aws."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.platforms.aws.rules import RULES, check_document, check_spec
from berth.platforms.kept_data import (
    AWS_DATA,
    AWS_ONE_WAY,
    COMMON_DATA,
    KUBERNETES_DATA,
    KUBERNETES_ONE_WAY,
)
from berth.platforms.kubernetes import platform as kubernetes
from berth.platforms.platform import Platform
from berth.platforms.preflight import Finding, Requirement
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec

if TYPE_CHECKING:
    from berth.platforms.cost_line import CostLine
    from berth.platforms.kubernetes.cluster import ClusterAccess
    from pulumi_berth.datasets.bucket_dataset import BucketDataset

_OFFLINE_ACCOUNT = "000000000000"


def _list_requirements() -> list[Requirement]:
    from berth.platforms.aws.requirements import list_requirements

    return list_requirements()


def _find_registry(context: StackContext) -> str | None:
    from berth.platforms.aws.access import require_credentials, stack_prefix

    spec = context.spec
    if spec.registry.url is not None:
        return spec.registry.url
    # The identity that is found here is also the one that reads the registry.
    caller = require_credentials(spec.aws)
    account = spec.registry.source_account or (caller and caller["Account"])
    if not account:
        return None
    prefix = stack_prefix(spec.registry.source_stack or context.stack)
    return f"{account}.dkr.ecr.{spec.aws['region']}.amazonaws.com/{prefix}"


def _complete_configuration(context: StackContext) -> list[str]:
    from berth.platforms.aws.caller_address import record_caller_address

    return record_caller_address(context)


def _run_preflight(context: StackContext) -> list[Finding]:
    from berth.platforms.aws.preflight import run_checks

    return run_checks(context)


def _find_warnings(spec: HostingSpec) -> list[str]:
    from berth.platforms.aws.capacity import find_capacity_warnings
    from berth.platforms.aws.support import find_support_warnings

    return [*find_support_warnings(spec.cluster, date.today()), *find_capacity_warnings(spec)]


def _prepare_update(context: StackContext) -> list[str]:
    from berth.platforms.aws.leftovers import remove_leftovers

    return [
        f"Deleted the log group {name}, which AWS created again after the stack was destroyed."
        for name in remove_leftovers(context.spec.aws, context.stack)
    ]


def _check_ownership(
    context: StackContext, owner_ids: Mapping[str, str], *, for_removal: bool
) -> None:
    if for_removal:  # Before an update, it is a requirement.
        from berth.platforms.aws.replication_rules import check_rules

        check_rules(context, for_removal=True)
    kubernetes.check_ownership(context, owner_ids, for_removal=for_removal)


def _deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    from berth.platforms.aws.deploy import deploy

    return deploy(spec, stack=stack, root=root)


def _get_access(context: StackContext) -> "ClusterAccess":
    """Return the access to the stack's own cluster, or to the one that replaces EKS."""
    if context.spec.kubernetes.kubeconfig is not None:
        return kubernetes.get_access(context.spec, context.root)
    from berth.platforms.aws.access import eks_access

    return eks_access(context.stack, context.spec.aws)


def _observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    return kubernetes.observe_cluster(_get_access(context), outputs)


def _read_metrics(context: StackContext, outputs: dict[str, Any]) -> Mapping[str, str]:
    return kubernetes.read_cluster_metrics(_get_access(context), outputs)


def _read_captured(
    context: StackContext, outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    return kubernetes.read_cluster_captured(_get_access(context), outputs, model, version)


def _read_logs(
    context: StackContext, outputs: dict[str, Any], **selection: Any
) -> Iterator[tuple[str, str]]:
    from berth.platforms.kubernetes.observe import read_logs

    return read_logs(_get_access(context), outputs, **selection)


def _shift_traffic(
    context: StackContext, resources: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> list[str]:
    return kubernetes.shift_traffic(context, _get_access(context), resources, models)


def _find_drift(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    return kubernetes.find_drift(context, _get_access(context), resources)


def _watch_update(context: StackContext) -> Callable[[], list[str]] | None:
    from berth.platforms.aws.access import MissingClusterError
    from berth.spec import SpecError

    connect, namespace = partial(_get_access, context), context.spec.kubernetes.namespace
    try:
        access = connect()
    except MissingClusterError:  # This update creates it.
        return kubernetes.watch_pods(connect, namespace, is_new=True)
    except SpecError:
        return None
    return kubernetes.watch_pods(lambda: access, namespace)


def _finish_update(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    return kubernetes.finish_update(context, _get_access(context), resources)


def _explain_failure(context: StackContext) -> list[str]:
    from berth.platforms.kubernetes.observe import explain_failures

    return explain_failures(_get_access(context), context.spec.kubernetes.namespace)


def _open_own_dataset(spec: HostingSpec, stack: str, path: str) -> "BucketDataset":
    from berth.platforms.aws.access import open_own_dataset

    return open_own_dataset(spec, stack, path)


def _estimate_cost(
    spec: HostingSpec, resources: Sequence[Mapping[str, Any]]
) -> "Sequence[CostLine]":
    from berth.platforms.aws.cost import Usage, estimate

    return estimate(resources, str(spec.aws["region"]), Usage(), date.today())


def _answer_offline(
    spec: HostingSpec, function: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what an empty account, and the stacks in other Regions, would return."""
    region = str(spec.aws.get("region", ""))
    latency = spec.edge.latency_routing
    match function:
        case "aws:index/getAvailabilityZones:getAvailabilityZones":
            return {"names": [f"{region}{letter}" for letter in "abcdef"]}
        case "aws:index/getCallerIdentity:getCallerIdentity":
            return {"accountId": _OFFLINE_ACCOUNT}
        case "aws:route53/getZone:getZone":
            return {"zoneId": f"zone {arguments['name']}"}
        case "pulumi:pulumi:StackReference":
            name = latency.domain.name if latency else None
            return {"shared_api": {"name": name, "region": ""}, "edge_secret": ""}
        case _:
            return {}


PLATFORM = Platform(
    name="aws",
    providers=("aws", "kubernetes"),
    sections=kubernetes.SECTIONS
    | {
        "network",
        "cluster",
        "node_pools",
        "api",
        "encryption",
        "observability",
        "budget",
        "protect",
        "tags",
    },
    rules=RULES,
    check_document=check_document,
    check_spec=check_spec,
    complete_configuration=_complete_configuration,
    preflight=_run_preflight,
    list_requirements=_list_requirements,
    find_registry=_find_registry,
    find_warnings=_find_warnings,
    prepare_update=_prepare_update,
    check_ownership=_check_ownership,
    deploy=_deploy,
    observe=_observe,
    read_logs=_read_logs,
    read_metrics=_read_metrics,
    read_captured=_read_captured,
    shift_traffic=_shift_traffic,
    describe_scraped=kubernetes.describe_scraped,
    find_drift=_find_drift,
    watch_update=_watch_update,
    finish_update=_finish_update,
    explain_failure=_explain_failure,
    find_unreachable_parts=kubernetes.find_unreachable_sites,
    kept_data={**COMMON_DATA, **KUBERNETES_DATA, **AWS_DATA},
    one_way={**KUBERNETES_ONE_WAY, **AWS_ONE_WAY},
    estimate_cost=_estimate_cost,
    open_own_dataset=_open_own_dataset,
    answer_offline=_answer_offline,
)
