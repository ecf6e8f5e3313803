"""Objects whose declared content the engine did not restore."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from berth.errors import OperationError
from berth.platforms.kubernetes.changed_objects import find_changes
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.platforms.kubernetes.declared_objects import replace_by_declared


class NotRestoredError(OperationError):
    """Objects differ from their declaration after an update."""


def restore_changed_objects(
    access: ClusterAccess, resources: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Replace each object that differs by its declaration. Yield a line for each.

    A missing object, and the values of Secrets, are left to the engine.

    Args:
        resources: The resources in the state after the update, whose inputs are thus the
            declaration.

    Raises:
        NotRestoredError: If the API server rejects the replacement of an object. All others were
            restored before.
    """
    from kubernetes.client import ApiException

    client = access.create_client()
    failures = []
    for change in find_changes(client, resources):
        if change.actual is None or not change.inputs or change.kind == "Secret":
            continue
        try:
            replace_by_declared(
                client, change.path, change.inputs, change.actual,
                is_scaled=change.is_scaled, is_dry_run=False,
            )  # fmt: skip
        except ApiException as error:
            reason = " ".join(str(error.body or error.reason).split())[:300]
            failures.append(f"{change} and could not be restored: {error.status} {reason}")
        else:
            yield f"Restored {change.kind} {change.name}{change.format_fields()}"
    if failures:
        raise NotRestoredError(
            f"{'; '.join(failures)}. Delete these objects, and run 'berth up', which creates them "
            "again."
        )
