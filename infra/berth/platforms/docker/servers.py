"""Deployment on the servers of `docker.hosts`."""

from typing import Any

import pulumi

from berth.platforms.docker.hosts import build_demands, build_hosts, is_swarm
from berth.platforms.hosted_models import build_clients
from berth.platforms.stack_context import read_skipped_parts
from berth.spec import HostingSpec
from pulumi_berth.api_key import describe_keys, select_newest_keys
from pulumi_berth.docker.hosting_args import DEFAULT_ADDRESS, DockerHostingArgs
from pulumi_berth.docker.placement import place
from pulumi_berth.docker.servers import ServersArgs, ServersParts, declare_servers
from pulumi_berth.docker.tls_proxy import build_url

_ANY_ADDRESS = "0.0.0.0"  # noqa: S104


def deploy_servers(spec: HostingSpec, args: DockerHostingArgs, *, stack: str) -> dict[str, Any]:
    """Declare the resources of the stack, and return the stack's outputs.

    `endpoint` is that of the first host by name, of those that this update does not skip.
    """
    hosts = spec.docker.hosts
    skipped = frozenset(hosts) & read_skipped_parts()
    servers = ServersArgs(
        addresses={name: host.address for name, host in hosts.items()},
        manager=spec.docker.manager_name,
        published={
            name: host.listen_address or spec.docker.address for name, host in hosts.items()
        },
        is_swarm=is_swarm(spec.docker),
        encrypted=spec.docker.encrypted,
        skipped=skipped,
        replicas=place(build_hosts(spec.docker), build_demands(spec.models)),
    )
    parts = declare_servers(
        args,
        servers,
        prefix=f"berth-{stack}-",
        base=spec.images.base,
        base_gpu=spec.images.base_gpu,
    )
    ready = {
        name: parts.proxies[name].container if name in parts.proxies else gateway.address
        for name, gateway in parts.gateways.items()
    }
    endpoints = {
        # Known when a gateway serves there.
        name: pulumi.Output.all(_build_url(spec, args, name), *([] if name in skipped else [each]))[
            0
        ]
        for name, each in ready.items()
    }
    clients, metrics = build_clients(spec), spec.docker.metrics_port
    return {
        "endpoint": endpoints[min(endpoints.keys() - skipped)],
        "endpoints": endpoints,
        "metrics": "none: set docker.metrics_port to publish them"
        if metrics is None
        else f"http://127.0.0.1:{metrics}/metrics on each host",
        "api_keys": pulumi.Output.secret(select_newest_keys(clients, parts.keys)),
        "client_keys": pulumi.Output.secret(describe_keys(clients, parts.keys)),
        "images": parts.images.reports,
        "entries": {name: gateway.entry for name, gateway in parts.gateways.items()},
        "gateways": {name: gateway.gateways for name, gateway in parts.gateways.items()},
        **(
            {"proxies": {name: proxy.container for name, proxy in parts.proxies.items()}}
            if parts.proxies
            else {}
        ),
        "models": {
            model: {
                "versions": {
                    version: _describe_version(spec, model, version, parts)
                    for version in model_spec.versions
                },
                "shadow": model_spec.shadow,
            }
            for model, model_spec in spec.models.items()
        },
    }


def _describe_version(
    spec: HostingSpec, model: str, version: str, parts: ServersParts
) -> dict[str, Any]:
    model_spec = spec.models[model]
    return {
        "digest": parts.digests[model, version],
        "image": parts.images.serving[model, version],
        "containers": [
            {"host": replica.host, "container": berth.container}
            for replica, berth in parts.berths
            if replica.berth == f"{model}/{version}"
        ],
        "traffic": model_spec.traffic.get(version, 0),
        "exposed": version in model_spec.exposed_versions,
    }


def _build_url(spec: HostingSpec, args: DockerHostingArgs, name: str) -> str:
    """Return the URL for clients of one host."""
    host = spec.docker.hosts[name]
    address = host.listen_address or spec.docker.address
    if address == _ANY_ADDRESS:
        address = host.private_address or DEFAULT_ADDRESS
    return build_url(args.tls, address, spec.docker.port)
