"""The hosts of a stack, and which of them runs which replica."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from berth.platforms.stack_context import SkippedPart
from berth.spec import DockerSpec, HostingSpec
from berth.spec.fields import parse_memory_bytes
from berth.spec.models import ModelSpec
from pulumi_berth.docker.placement import Demand, Host


def list_engines(docker: DockerSpec) -> dict[str, str]:
    """Return the address of each engine by the name of its host. That of `host` is empty."""
    from pulumi_berth.docker.engine import resolve_host

    addresses = {name: host.address for name, host in docker.hosts.items()}
    return addresses or {"": resolve_host(docker.host)}


def open_engines(docker: DockerSpec, stack: ExitStack) -> dict[str, Any]:
    """Return a client of each engine that responds, which `stack` closes.

    Raises:
        EngineError: If none responds.
    """
    from pulumi_berth.docker.engine import EngineError, open_engine

    clients: dict[str, Any] = {}
    problems: list[EngineError] = []
    for name, address in list_engines(docker).items():
        try:
            clients[name] = stack.enter_context(open_engine(address))
        except EngineError as error:
            problems.append(error)
    if not clients:
        raise problems[0]
    return clients


def is_swarm(docker: DockerSpec) -> bool:
    """Return whether the engines are nodes of a swarm.

    A single host keeps the swarm's networks when it is the last one that remains.
    """
    return any(host.private_address is not None for host in docker.hosts.values())


def build_hosts(docker: DockerSpec) -> dict[str, Host]:
    """Return what each host of `docker.hosts` offers."""
    return {
        name: Host(
            memory_bytes=parse_memory_bytes(host.memory), compute=host.compute, gpus=host.gpus
        )
        for name, host in docker.hosts.items()
    }


def build_demands(models: Mapping[str, ModelSpec]) -> dict[str, Demand]:
    """Return what each berth needs, by `<model>/<version>`."""
    return {
        f"{name}/{version}": Demand(
            memory_bytes=parse_memory_bytes(model.resources.memory),
            compute=model.compute,
            gpus=model.resources.gpu,
            replicas=_count_replicas(model, version),
        )
        for name, model in models.items()
        for version in model.versions
    }


def _count_replicas(model: ModelSpec, version: str) -> int:
    """Return the number of replicas. Nothing adds more while the stack runs."""
    is_used = model.traffic.get(version, 0) > 0 or model.shadow == version
    if model.versions[version].standby == "cold" and not is_used:
        return 0
    return model.replicas.min


def find_unreachable_hosts(spec: HostingSpec, _root: Path) -> list[SkippedPart]:
    """Return the hosts whose engines do not respond, unless all of them do not.

    An update without any host is an error, which `require_engine` reports.
    """
    from pulumi_berth.docker.engine import EngineError, open_engine
    from pulumi_berth.docker.servers import get_host_type

    def find_problem(address: str) -> str | None:
        try:
            with open_engine(address):
                return None
        except EngineError as error:
            return str(error)

    hosts = spec.docker.hosts
    if not hosts:
        return []
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        problems = list(pool.map(find_problem, [host.address for host in hosts.values()]))
    if all(problems):
        return []
    return [
        SkippedPart(
            name=f"host {name}",
            key=name,
            reason=problem,
            urns=f"**{get_host_type(name)}$**",
            has_dependents=False,
        )
        for name, problem in zip(hosts, problems, strict=True)
        if problem is not None
    ]
