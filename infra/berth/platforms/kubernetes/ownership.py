"""The check, before the engine starts, that a stack's namespaces belong to nobody else."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from berth.platforms.kubernetes.cluster import ClusterAccess, get_cluster_access
from berth.platforms.stack_context import StackContext
from berth.project import read_project_name
from berth.spec import HostingSpec, SpecError
from pulumi_berth.kubernetes.cluster_access import UNREACHABLE
from pulumi_berth.kubernetes.object_names import list_object_names
from pulumi_berth.kubernetes.ownership import (
    Claim,
    describe_failed_check,
    find_conflicts,
    find_removal_conflicts,
    read_namespace,
)

_CLAIM = "namespace-claim"


def check_ownership(
    context: StackContext, owner_ids: Mapping[str, str], *, for_removal: bool
) -> None:
    """Check that the stack may use its namespaces, or that it may delete them.

    Args:
        owner_ids: ID in the stack's state of each claim, by the claim's logical name. Empty before
            the first update.
        for_removal: Whether the stack is about to be destroyed.

    Raises:
        SpecError: If a namespace or an object in it belongs to someone else.
    """
    problems: list[str] = []
    for key, access, claim in _list_claims(context, owner_ids):
        try:
            client = access.create_client()
            existing = read_namespace(client, claim.namespace)
        except UNREACHABLE:  # Unreachable sites are skipped, and reported where that happens.
            continue
        except Exception as error:
            problems.append(f"berth:{key}: {describe_failed_check(claim.namespace, error)}")
            continue
        found = (
            list(find_removal_conflicts(claim, existing))
            if for_removal
            else list(find_conflicts(claim, existing))
        )
        problems += [f"berth:{key}.namespace: {text} Nothing was changed." for text in found]
    if problems:
        raise SpecError(problems)


def _list_claims(
    context: StackContext, owner_ids: Mapping[str, str]
) -> Iterator[tuple[str, ClusterAccess, Claim]]:
    spec, kubernetes = context.spec, context.spec.kubernetes
    project = read_project_name(context.root)

    def build_claim(
        name: str,
        namespace: str,
        models: list[str],
        *,
        adopt: bool,
        has_controller: bool = True,
        has_monitoring: bool = False,
    ) -> Claim:
        return Claim(
            project=project,
            stack=context.stack,
            owner_id=owner_ids.get(name),
            namespace=namespace,
            adopt=adopt,
            names=frozenset(
                list_object_names(
                    {model: _versions(spec, model) for model in models},
                    has_controller=has_controller,
                    has_monitoring=has_monitoring,
                )
            ),
        )

    def get_access(kubeconfig: str | None, name: str | None) -> ClusterAccess:
        return get_cluster_access(kubeconfig, name, Path(context.root))

    # On aws, the cluster belongs to the stack, unless AWS is emulated.
    if spec.platform == "kubernetes" or kubernetes.kubeconfig is not None:
        yield (
            "kubernetes",
            get_access(kubernetes.kubeconfig, kubernetes.context),
            build_claim(
                _CLAIM,
                kubernetes.namespace,
                [*spec.models],
                adopt=kubernetes.adopt_namespace,
                has_controller=kubernetes.parent_gateway is None,
                has_monitoring=kubernetes.monitoring,
            ),
        )
    for name, site in spec.edge.sites.items():
        yield (
            f"edge.sites.{name}",
            get_access(site.kubeconfig, site.context),
            build_claim(
                f"{name}-{_CLAIM}", site.namespace, site.models, adopt=site.adopt_namespace
            ),
        )


def _versions(spec: HostingSpec, model: str) -> list[str]:
    return [*spec.models[model].versions]
