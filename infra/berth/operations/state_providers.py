"""The check of a stack's state before the engine loads the dynamic providers in it.

A person who can write the state can name any code there. It runs as the user of `berth up`,
`preview` or `destroy`: docs/explanation/state-and-secrets.md. This check names the resource before
anything starts; `pulumi_berth.provider_host` refuses to load such a provider in any case.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.state_file import find_state_file
from pulumi_berth.provider_paths import MODULE, PROPERTY, is_known_provider

# The engine's packages for dynamic resources. Those of Node.js contain JavaScript.
_PACKAGES = ("pulumi-python", "pulumi-nodejs")


def check_providers(root: Path, stack: str, export: Callable[[], str]) -> None:
    """Check that the state names only Berth's dynamic providers.

    Args:
        export: Returns the state as JSON, with secrets encrypted. It is called if the state is not
            in a local file.

    Raises:
        OperationError: If a resource names another provider. Nothing was changed.
    """
    for urn in find_unknown_providers(_read_resources(root, stack, export)):
        raise OperationError(
            f"The state of stack '{stack}' names a dynamic provider outside {MODULE} for {urn}, "
            "which could run any code. Nothing was loaded or changed. If your program declares "
            "this resource, move it to a stack of its own that plain Pulumi runs. Otherwise, find "
            "out who changed the state, and restore an earlier version."
        )


def find_unknown_providers(resources: Iterator[Any]) -> Iterator[str]:
    """Return the URNs of resources with a dynamic provider that is not Berth's."""
    for resource in resources:
        if not isinstance(resource, Mapping):
            continue
        package = str(resource.get("type")).partition(":")[0]
        for key in ("inputs", "outputs"):
            properties = resource.get(key)
            if not isinstance(properties, Mapping):
                continue
            is_dynamic = PROPERTY in properties or (package in _PACKAGES and properties)
            # A provider in an encrypted value is not Berth's either.
            if is_dynamic and not is_known_provider(properties.get(PROPERTY)):
                yield str(resource.get("urn"))
                break


def _read_resources(root: Path, stack: str, export: Callable[[], str]) -> Iterator[Any]:
    deployment = _read_local(root, stack)
    if deployment is None:
        deployment = json.loads(export() or "{}").get("deployment")
    if not isinstance(deployment, Mapping):
        return
    yield from deployment.get("resources") or ()
    for operation in deployment.get("pending_operations") or ():
        yield operation.get("resource") if isinstance(operation, Mapping) else None


def _read_local(root: Path, stack: str) -> Any:
    """Return the deployment in a local file, or None if only the engine can read it."""
    path = find_state_file(root, stack)
    if path is None:
        return None
    try:
        return json.loads(path.read_text())["checkpoint"]["latest"] or {}
    except (OSError, ValueError, LookupError, TypeError):
        return None
