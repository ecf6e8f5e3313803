"""Hosts that the specification no longer has, and that an update cannot reach."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from berth.platforms.docker.drift import find_host
from berth.platforms.docker.target import get_hosting_id
from berth.platforms.stack_context import LostPart, StackContext
from pulumi_berth.docker.engine import HOSTING_LABEL, EngineError, open_engine
from pulumi_berth.docker.servers import get_host_type

_PROVIDER = "pulumi:providers:docker"
_KINDS = {
    "docker:index/container:Container": "containers",
    "docker:index/volume:Volume": "volumes",
    "docker:index/network:Network": "networks",
}


def find_lost_hosts(
    context: StackContext, resources: Sequence[Mapping[str, Any]]
) -> list[LostPart]:
    """Return the hosts in the state that `docker.hosts` does not have and that do not respond.

    Args:
        resources: Type, URN and outputs of each resource in the state.
    """
    lost = []
    for name, address in sorted(find_removed_hosts(context, resources).items()):
        try:
            with open_engine(address):
                continue
        except EngineError as error:
            reason = str(error)
        own = [each for each in resources if is_on_host(str(each["urn"]), name)]
        lost.append(
            LostPart(
                name=f"host {name}",
                key=name,
                reason=reason,
                urns=f"**{get_host_type(name)}$**",
                has_dependents=False,
                resources=frozenset(str(each["urn"]) for each in own),
                remains=_describe_remains(context, address, own),
            )
        )
    return lost


def find_removed_hosts(
    context: StackContext, resources: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Return the address of each host in the state that `docker.hosts` does not have, by name."""
    return {
        name: str(each["outputs"]["host"])
        for each in resources
        if each["type"] == _PROVIDER
        and (name := find_host(str(each["urn"])))
        and name not in context.spec.docker.hosts
    }


def is_on_host(urn: str, name: str) -> bool:
    """Return whether a resource is the component of a host, or belongs to it."""
    return find_host(urn) == name or f"::{get_host_type(name)}::" in urn


def _describe_remains(
    context: StackContext, address: str, resources: Sequence[Mapping[str, Any]]
) -> str:
    counts = Counter(_KINDS[each["type"]] for each in resources if each["type"] in _KINDS)
    objects = ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS.values())
    label = f"--filter label={HOSTING_LABEL}={get_hosting_id(context)}"
    return (
        f"These remain at {address}: {objects}. The containers serve with their last configuration "
        "when the server returns, and the volumes have the stack's token. Delete them there with "
        f"'docker rm -f $(docker ps -aq {label})', then "
        f"'docker volume rm $(docker volume ls -q {label})' and "
        f"'docker network rm $(docker network ls -q --filter scope=local {label})'."
    )
