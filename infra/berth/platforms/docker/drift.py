"""Drift: what someone changed in the engine since the last update, and what restores it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from docker.errors import NotFound

from berth.errors import OperationError
from berth.platforms.docker.hosts import open_engines
from berth.platforms.stack_context import StackContext
from pulumi_berth.docker.container_plan import CPU_PERIOD
from pulumi_berth.docker.engine import EngineError, find_container
from pulumi_berth.docker.ready_container import is_limited, limit_processes

_CONTAINER = "docker:index/container:Container"
_NETWORK = "docker:index/network:Network"
_VOLUME = "docker:index/volume:Volume"
# See `pulumi_berth.docker.servers.get_host_type`.
_HOST = re.compile(r"::berth:docker/([a-z0-9-]+):Host\$")
_MIB = 1 << 20
_NANO_PER_QUOTA = 10_000


def find_drift(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what differs from the last update in the engines that respond, one line each.

    Args:
        resources: Type, ID and outputs of each resource in the state.

    Raises:
        OperationError: If the engine does not respond.
    """
    try:
        with ExitStack() as stack:
            clients = open_engines(context.spec.docker, stack)
            return [
                line
                for resource in resources
                if (client := clients.get(find_host(resource["urn"]))) is not None
                for line in _compare(client, resource)
            ]
    except EngineError as error:
        raise OperationError(str(error)) from error


def find_host(urn: str) -> str:
    """Return the name of the host that a resource is on. It is empty on a stack's only engine."""
    match = _HOST.search(urn)
    return "" if match is None else match[1]


def finish_update(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Restore what the Docker provider does not compare, and return a line for each.

    Args:
        resources: Type, ID and outputs of each resource in the state.

    Raises:
        OperationError: If the engine does not respond.
    """
    lines: list[str] = []
    try:
        with ExitStack() as stack:
            clients = open_engines(context.spec.docker, stack)
            for resource in resources:
                client = clients.get(find_host(resource["urn"]))
                if resource["type"] != _CONTAINER or client is None:
                    continue
                container = find_container(client, resource["id"])
                if container is None:
                    continue
                for network in _find_added_networks(container.attrs, resource["outputs"]):
                    client.networks.get(network).disconnect(container)
                    lines.append(f"Removed container {container.name} from network {network}.")
                if not is_limited(container):
                    limit_processes(client, container)
                    lines.append(f"Limited the processes of container {container.name}.")
    except EngineError as error:
        raise OperationError(str(error)) from error
    return lines


def _compare(client: Any, resource: Mapping[str, Any]) -> Iterator[str]:
    kind, outputs = resource["type"], resource["outputs"]
    name = outputs.get("name")
    if kind == _CONTAINER:
        container = find_container(client, resource["id"])
        if container is None:
            yield f"container {name} no longer exists"
        else:
            for difference in describe_container(container.attrs, container.status, outputs):
                yield f"container {name} {difference}"
            if not is_limited(container):
                yield f"container {name} has another limit of processes"
    elif kind == _NETWORK and not _exists(client.networks, resource["id"]):
        yield f"network {name} no longer exists"
    elif kind == _VOLUME and not _exists(client.volumes, str(name)):
        yield f"volume {name} no longer exists"


def describe_container(
    actual: Mapping[str, Any], status: str, declared: Mapping[str, Any]
) -> Iterator[str]:
    """Yield how a container differs from the declared one.

    Args:
        actual: What `docker inspect` shows.
        status: Its status, such as `running`.
        declared: Outputs of the resource.
    """
    if status not in ("running", "restarting"):
        yield f"is {status}"
    config = actual["HostConfig"]
    if declared.get("memory") and config["Memory"] != int(declared["memory"]) * _MIB:
        yield f"has {config['Memory'] // _MIB} MiB memory, not {int(declared['memory'])}"
    quota = config["CpuQuota"] or config["NanoCpus"] // _NANO_PER_QUOTA
    if declared.get("cpuQuota") and quota != int(declared["cpuQuota"]):
        cores = int(declared["cpuQuota"]) / CPU_PERIOD
        yield f"may use {quota / CPU_PERIOD:g} CPUs, not {cores:g}"
    if declared.get("restart") and config["RestartPolicy"]["Name"] != declared["restart"]:
        yield f"has the restart policy {config['RestartPolicy']['Name'] or 'no'}"
    for network in sorted(_list_networks(declared) - _list_attached(actual)):
        yield f"is not in the network {network}"
    for network in _find_added_networks(actual, declared):
        yield f"is also in the network {network}"


def _find_added_networks(actual: Mapping[str, Any], declared: Mapping[str, Any]) -> list[str]:
    return sorted(_list_attached(actual) - _list_networks(declared))


def _list_attached(actual: Mapping[str, Any]) -> set[str]:
    return set(actual["NetworkSettings"]["Networks"] or {})


def _list_networks(declared: Mapping[str, Any]) -> set[str]:
    return {str(entry["name"]) for entry in declared.get("networksAdvanced") or ()}


def _exists(collection: Any, key: str) -> bool:
    try:
        collection.get(key)
    except NotFound:
        return False
    return True
