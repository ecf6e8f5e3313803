"""`berth preflight` on docker: what the engines of a stack say about themselves."""

import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from shlex import quote

from berth.platforms.docker.hosts import build_demands, build_hosts, is_swarm
from berth.platforms.docker.preflight_checks import CHECKS, Facts, Need, find_managers
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec
from berth.spec.fields import parse_millicores
from berth.spec.models import version_directory
from pulumi_berth.docker.engine import EngineError, open_engine, resolve_host
from pulumi_berth.docker.placement import Host, place
from pulumi_berth.docker.ssh_tunnel import TunnelError, is_server, run_on_server

_GIB = 1 << 30
_CONNECTION = "connection"


def run_checks(context: StackContext) -> list[Finding]:
    """Return what every check of every engine found.

    If another host answers, an unreachable one is a warning, because an update skips it.
    """
    spec = context.spec
    needs = build_needs(spec, estimate_image_bytes(context))
    addresses = {name: host.address for name, host in spec.docker.hosts.items()}
    if not addresses:
        host = resolve_host(spec.docker.host)
        return _check_engine(host, _read_or_explain(host), needs[""])
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        results = list(pool.map(_read_or_explain, addresses.values()))
    read = dict(zip(addresses, results, strict=True))
    facts = {name: each for name, each in read.items() if isinstance(each, Facts)}
    found: list[Finding] = []
    for name, each in read.items():
        findings = _check_engine(addresses[name], each, needs[name])
        if isinstance(each, Facts):
            findings += _compare_swarms(name, facts)
        elif facts:
            findings = [_skip(finding) for finding in findings]
        found += [replace(finding, check=f"{name}: {finding.check}") for finding in findings]
    return found


def build_needs(spec: HostingSpec, image_bytes: int) -> dict[str, Need]:
    """Return what the stack needs of each host, or of the only engine, whose name is empty."""
    hosts, demands = build_hosts(spec.docker), build_demands(spec.models)
    only = Host(memory_bytes=sum(d.memory_bytes * d.replicas for d in demands.values()))
    placed = (
        [(replica.host, replica.berth) for replica in place(hosts, demands)]
        if hosts
        else [("", berth) for berth, demand in demands.items() for _ in range(demand.replicas)]
    )
    return {
        name: Need(
            architectures=spec.images.architectures,
            image_bytes=image_bytes,
            memory_bytes=host.memory_bytes,
            is_declared=bool(hosts),
            cpus=max((_get_cpus(spec, berth) for on, berth in placed if on == name), default=0.0),
            gpus=sum(demands[berth].gpus for on, berth in placed if on == name),
            private_address=spec.docker.hosts[name].private_address if hosts else None,
            must_manage=is_swarm(spec.docker) and name == spec.docker.manager_name,
        )
        for name, host in (hosts or {"": only}).items()
    }


def read_facts(address: str) -> Facts:
    """Read what an engine says about itself and its machine.

    Raises:
        EngineError: If it does not respond.
    """
    with open_engine(address) as client:
        version = client.version()
        before = time.time()
        info = client.info()
        after = time.time()
    return Facts(
        version=version,
        info=info,
        clock_seconds=_parse_time(str(info["SystemTime"])) - (before + after) / 2,
        clock_error_seconds=(after - before) / 2,
        free_bytes=_read_free_bytes(address, str(info["DockerRootDir"])),
    )


def estimate_image_bytes(context: StackContext) -> int:
    """Return the disk space that the stack's images need at most, in bytes.

    While an engine receives an image it has its files twice: packed and unpacked. The base image,
    the gateway and what the engine itself writes need less than 1 GiB. An image of a container of
    the user's own is not counted, except for the files of its context.
    """
    size = 0
    for model, entry in context.spec.models.items():
        for version, settings in entry.versions.items():
            if settings.container is None:
                directory = version_directory(context.root, model, version, settings.path)
            elif settings.container.context is not None:
                directory = context.root / settings.container.context
            else:
                continue
            size += sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    return 2 * size + _GIB


def _get_cpus(spec: HostingSpec, berth: str) -> float:
    resources = spec.models[berth.partition("/")[0]].resources
    return parse_millicores(resources.cpu_limit or resources.cpu) / 1000


def _read_or_explain(address: str) -> Facts | str:
    try:
        return read_facts(address)
    except EngineError as error:
        return str(error)


def _check_engine(address: str, facts: Facts | str, need: Need) -> list[Finding]:
    if isinstance(facts, str):
        return [Finding(check=_CONNECTION, status=Status.FAILED, detail=facts)]
    found = [Finding(check=_CONNECTION, status=Status.PASSED, detail=f"{address} answers.")]
    return [*found, *(finding for check in CHECKS for finding in check(facts, need))]


def _compare_swarms(name: str, facts: Mapping[str, Facts]) -> list[Finding]:
    """Report a host whose swarm has no manager in common with that of the first host by name."""
    first = min(facts)
    own, others = find_managers(facts[name]), find_managers(facts[first])
    if not own or not others or own & others:
        return []
    detail = f"The engine is in another swarm than host {first}."
    fix = "Run 'docker swarm leave' there, and 'docker swarm join' with a token of the other swarm."
    return [Finding(check="swarm", status=Status.FAILED, detail=detail, fix=fix)]


def _skip(finding: Finding) -> Finding:
    detail = f"{finding.detail} Until then, an update skips this host."
    return replace(finding, status=Status.WARNING, detail=detail)


def _parse_time(text: str) -> float:
    """Return a time of Go's RFC 3339 with up to nine digits after the point, in seconds."""
    match = re.fullmatch(r"(.{19})(\.[0-9]+)?(Z|[+-][0-9:]{5})", text)
    if match is None:
        raise EngineError(f"The Docker engine answered with the time {text[:100]!r}.")
    seconds, fraction, zone = match.groups()
    return datetime.fromisoformat(f"{seconds}{zone}").timestamp() + float(fraction or 0)


def _read_free_bytes(address: str, directory: str) -> int | None:
    """Return the free disk space in a directory of an engine's machine, if anything tells it."""
    if is_server(address):
        try:
            # The format of POSIX: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/df.html
            lines = run_on_server(address, f"df -Pk -- {quote(directory)}").splitlines()
            return int(lines[-1].split()[3]) * 1024
        except (TunnelError, IndexError, ValueError):
            return None
    # An engine in a virtual machine, such as Docker Desktop, has a directory that is not here.
    if not Path(directory).is_dir():
        return None
    statistics = os.statvfs(directory)
    return statistics.f_bavail * statistics.f_frsize
