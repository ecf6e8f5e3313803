"""The record of platform kubernetes, and the functions that platform aws shares with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.platforms.kept_data import COMMON_DATA, KUBERNETES_DATA, KUBERNETES_ONE_WAY
from berth.platforms.kubernetes.rules import RULES
from berth.platforms.platform import Platform
from berth.platforms.preflight import Finding, Requirement, Status
from berth.platforms.stack_context import SkippedPart, StackContext
from berth.spec import HostingSpec

if TYPE_CHECKING:
    from berth.platforms.kubernetes.cluster import ClusterAccess
    from pulumi_berth.monitoring.scraped_stack import ScrapedStack

SECTIONS = frozenset({"kubernetes", "images", "registry", "data", "edge"})


def observe_cluster(access: "ClusterAccess", outputs: dict[str, Any]) -> dict[str, Any]:
    """Return what `observe` returns.

    Raises:
        OperationError: If the cluster rejects a request or does not respond.
    """
    from berth.platforms.kubernetes.observe import observe

    with _explain_errors():
        return observe(access, outputs)


def read_cluster_metrics(access: "ClusterAccess", outputs: dict[str, Any]) -> dict[str, str]:
    """Return the metrics of each program that responds.

    Raises:
        OperationError: If the cluster rejects a request or does not respond.
    """
    from berth.platforms.kubernetes.metrics import read_metrics

    with _explain_errors():
        return read_metrics(access, outputs)


def read_cluster_captured(
    access: "ClusterAccess", outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    """Return the captured requests of each replica of a version that responds.

    Raises:
        OperationError: If the cluster rejects a request or does not respond.
    """
    from berth.platforms.kubernetes.metrics import read_captured

    with _explain_errors():
        return read_captured(access, outputs, model, version)


@contextmanager
def _explain_errors() -> Iterator[None]:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    from berth.errors import OperationError

    try:
        yield
    except ApiException as error:
        raise OperationError(
            f"The cluster rejected a request for the stack's pods: {error.status} {error.reason}. "
            "Check the permissions of the kubeconfig's user."
        ) from error
    except HTTPError as error:
        raise OperationError(f"The cluster did not respond: {error}.") from error


def _observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    return observe_cluster(get_access(context.spec, context.root), outputs)


def _read_metrics(context: StackContext, outputs: dict[str, Any]) -> Mapping[str, str]:
    return read_cluster_metrics(get_access(context.spec, context.root), outputs)


def _read_captured(
    context: StackContext, outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    access = get_access(context.spec, context.root)
    return read_cluster_captured(access, outputs, model, version)


def _read_logs(
    context: StackContext, outputs: dict[str, Any], **selection: Any
) -> Iterator[tuple[str, str]]:
    from berth.platforms.kubernetes.observe import read_logs

    return read_logs(get_access(context.spec, context.root), outputs, **selection)


def find_drift(
    context: StackContext, access: "ClusterAccess", resources: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return what differs from the state in the stack's cluster and in its sites.

    Args:
        access: Access to the stack's cluster.
    """
    from berth.platforms.kubernetes.changed_objects import find_changed_objects

    return _ask_clusters(context, access, resources, find_changed_objects)


def finish_update(
    context: StackContext, access: "ClusterAccess", resources: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Restore what the engine did not: numbers of replicas that an autoscaler changed before its
    deletion, and what somebody added to objects of the stack.

    Raises:
        OperationError: If the cluster rejects a request or does not respond.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    from berth.errors import OperationError
    from berth.platforms.kubernetes.fixed_replicas import restore_fixed_replicas
    from berth.platforms.kubernetes.restored_objects import restore_changed_objects

    try:
        lines = _ask_clusters(context, access, resources, restore_fixed_replicas)
    except (ApiException, HTTPError) as error:
        raise OperationError(
            f"Could not check the number of replicas: {' '.join(str(error).split())[:300]}. Run "
            "the command again."
        ) from error
    return [*lines, *_ask_clusters(context, access, resources, restore_changed_objects)]


def _ask_clusters(
    context: StackContext,
    access: "ClusterAccess",
    resources: Sequence[Mapping[str, Any]],
    ask: "Callable[[ClusterAccess, Sequence[Mapping[str, Any]]], Iterable[str]]",
) -> list[str]:
    """Return the lines of the stack's cluster and of its sites, each with its own resources.

    A site that does not respond is left out.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    from berth.errors import OperationError
    from berth.platforms.kubernetes.cluster import get_cluster_access
    from berth.platforms.kubernetes.restored_objects import NotRestoredError
    from berth.spec import SpecError

    by_provider: dict[str, list[Mapping[str, Any]]] = {}
    for resource in resources:
        name = str(resource.get("provider", "")).rpartition("::")[0].rpartition("::")[2]
        by_provider.setdefault(name, []).append(resource)
    lines: list[str] = []
    for site, entry in context.spec.edge.sites.items():
        own = by_provider.pop(f"{site}-cluster", [])
        place = get_cluster_access(entry.kubeconfig, entry.context, context.root)
        try:
            lines += [f"site {site}: {line}" for line in ask(place, own)]
        except NotRestoredError as error:
            raise NotRestoredError(f"Site {site}: {error}") from error
        except (OperationError, SpecError, ApiException, HTTPError):
            continue
    rest = [resource for own in by_provider.values() for resource in own]
    return [*ask(access, rest), *lines]


def _finish_update(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    return finish_update(context, get_access(context.spec, context.root), resources)


def shift_traffic(
    context: StackContext,
    access: "ClusterAccess",
    resources: Sequence[Mapping[str, Any]],
    models: Sequence[str],
) -> list[str]:
    """Move the requests of models to the versions with traffic in the specification.

    Args:
        access: Access to the stack's cluster.

    Returns:
        The models whose requests were moved there.

    Raises:
        OperationError: If the cluster rejects a request or does not respond.
    """
    from berth.platforms.kubernetes.shift_traffic import shift_routes

    wanted = {name: context.spec.models[name] for name in models}
    with _explain_errors():
        shifted = _ask_clusters(
            context, access, resources, lambda place, own: shift_routes(place, own, wanted)
        )
    return [name for name in models if name in shifted]


def _shift_traffic(
    context: StackContext, resources: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> list[str]:
    return shift_traffic(context, get_access(context.spec, context.root), resources, models)


def _find_drift(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    return find_drift(context, get_access(context.spec, context.root), resources)


def watch_pods(
    connect: "Callable[[], ClusterAccess]", namespace: str, *, is_new: bool = False
) -> Callable[[], list[str]] | None:
    """Return a function that finds pods which an update creates and that cannot become ready.

    Return None if the pods cannot be listed, such as without the permission.

    Args:
        connect: Returns the access to the cluster.
        is_new: Whether the update creates the cluster, so that it has no pods yet.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    from berth.platforms.kubernetes.observe import find_hopeless_pods, list_pod_uids
    from berth.spec import SpecError

    try:
        known = set() if is_new else list_pod_uids(connect(), namespace)
    except (SpecError, ApiException, HTTPError):
        return None

    def find() -> list[str]:
        try:
            return find_hopeless_pods(connect(), namespace, known)
        except (SpecError, ApiException, HTTPError):
            return []  # The engine reports a cluster that does not respond.

    return find


def _watch_update(context: StackContext) -> Callable[[], list[str]] | None:
    access = get_access(context.spec, context.root)
    return watch_pods(lambda: access, context.spec.kubernetes.namespace)


def _explain_failure(context: StackContext) -> list[str]:
    from berth.platforms.kubernetes.observe import explain_failures
    from berth.platforms.kubernetes.parent_gateway import build_parent_gateway

    access = get_access(context.spec, context.root)
    namespace, parent = context.spec.kubernetes.namespace, build_parent_gateway(context.spec)
    return explain_failures(access, namespace, parent)


def find_unreachable_sites(spec: HostingSpec, root: Path) -> list[SkippedPart]:
    """Return the edge sites that do not respond."""
    if not spec.edge.sites:
        return []
    from berth.platforms.kubernetes import sites

    return sites.find_unreachable_sites(spec, root)


def get_access(spec: HostingSpec, root: Path) -> "ClusterAccess":
    """Return the access to the cluster that `kubernetes.kubeconfig` and `context` name."""
    from berth.platforms.kubernetes.cluster import get_cluster_access

    return get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)


def _check_target(context: StackContext) -> Finding:
    from berth.platforms.kubernetes.cluster import find_required_groups, require_cluster
    from berth.platforms.kubernetes.parent_gateway import require_parent_gateway

    spec = context.spec
    access = get_access(spec, context.root)
    has_controller = spec.kubernetes.parent_gateway is None
    facts = require_cluster(
        access,
        groups=find_required_groups(spec),
        controller_image=spec.kubernetes.controller_image if has_controller else "",
    )
    require_parent_gateway(access, spec)
    detail = f"The cluster at {facts.host} meets Berth's requirements."
    return Finding(check="target", status=Status.PASSED, detail=detail)


def describe_scraped(context: StackContext) -> "ScrapedStack":
    """Return the stack as a Prometheus server of its cluster sees it."""
    from berth.platforms.kubernetes import hosting

    return hosting.describe_scraped(context)


def _list_requirements() -> list[Requirement]:
    return [Requirement(name="target", check=_check_target)]


def check_ownership(
    context: StackContext, owner_ids: Mapping[str, str], *, for_removal: bool
) -> None:
    """Raise SpecError if the stack would use or delete a namespace of someone else."""
    from berth.platforms.kubernetes import ownership

    ownership.check_ownership(context, owner_ids, for_removal=for_removal)


def _deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    from berth.platforms.kubernetes.deploy import deploy

    return deploy(spec, stack=stack, root=root)


PLATFORM = Platform(
    name="kubernetes",
    providers=("kubernetes",),
    sections=SECTIONS,
    rules=RULES,
    list_requirements=_list_requirements,
    check_ownership=check_ownership,
    deploy=_deploy,
    observe=_observe,
    has_external_resources=True,
    find_drift=_find_drift,
    watch_update=_watch_update,
    finish_update=_finish_update,
    read_logs=_read_logs,
    read_metrics=_read_metrics,
    read_captured=_read_captured,
    shift_traffic=_shift_traffic,
    describe_scraped=describe_scraped,
    explain_failure=_explain_failure,
    find_unreachable_parts=find_unreachable_sites,
    kept_data={**COMMON_DATA, **KUBERNETES_DATA},
    one_way=KUBERNETES_ONE_WAY,
)
