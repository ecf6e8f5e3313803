"""Deployment on a Docker engine: images, one berth per model version, and the gateway."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.docker.certificate import build_tls
from berth.platforms.hosted_models import (
    build_blocking,
    build_clients,
    build_jwt,
    build_models,
)
from berth.platforms.image_settings import build_image_settings
from berth.spec import HostingSpec
from pulumi_berth.api_key import describe_keys, select_newest_keys
from pulumi_berth.docker.hosting import build_endpoint, declare_docker_hosting
from pulumi_berth.docker.hosting_args import DockerHostingArgs
from pulumi_berth.hosted_models import HostedModelArgs, ResourceArgs
from pulumi_berth.oci.image_store import STORE_HOST


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Declare the resources of the stack, and return the stack's outputs."""
    if spec.docker.hosts:
        from berth.platforms.docker.servers import deploy_servers

        return deploy_servers(spec, build_hosting_args(spec, root), stack=stack)
    clients = build_clients(spec)
    args = build_hosting_args(spec, root)
    parts = declare_docker_hosting(
        args,
        prefix=f"berth-{stack}-",
        image_prefix="",
        base=spec.images.base,
        base_gpu=spec.images.base_gpu,
    )
    metrics = spec.docker.metrics_port
    return {
        "endpoint": build_endpoint(args, parts),
        "metrics": "none: set docker.metrics_port to publish them"
        if metrics is None
        else f"http://127.0.0.1:{metrics}/metrics",
        "api_keys": pulumi.Output.secret(select_newest_keys(clients, parts.keys)),
        "client_keys": pulumi.Output.secret(describe_keys(clients, parts.keys)),
        "images": parts.images.reports,
        "entry": parts.gateway.entry,
        "gateways": parts.gateway.gateways,
        **({} if parts.proxy is None else {"proxy": parts.proxy.container}),
        "models": {
            model: {
                "versions": {
                    version: {
                        "digest": parts.berths[model, version].digest,
                        "image": parts.berths[model, version].image,
                        "container": parts.berths[model, version].container,
                        "traffic": model_spec.traffic.get(version, 0),
                        "exposed": version in model_spec.exposed_versions,
                    }
                    for version in model_spec.versions
                },
                "shadow": model_spec.shadow,
            }
            for model, model_spec in spec.models.items()
        },
    }


def build_hosting_args(spec: HostingSpec, root: Path) -> DockerHostingArgs:
    """Return the arguments of the components, except what differs between hosts."""
    registry = spec.registry.url or STORE_HOST
    return DockerHostingArgs(
        models=_build_models(spec, root, registry),
        host=spec.docker.host,
        images=build_image_settings(spec, registry),
        clients=build_clients(spec),
        jwt=build_jwt(spec, root),
        blocking=build_blocking(spec),
        address=spec.docker.address,
        port=spec.docker.port,
        tls=build_tls(spec, root),
        metrics_port=spec.docker.metrics_port,
        gateway_resources=ResourceArgs(
            cpu=spec.gateway.resources.cpu,
            cpu_limit=spec.gateway.resources.cpu_limit,
            memory=spec.gateway.resources.memory,
        ),
        ready_seconds=spec.docker.ready_timeout_seconds,
        max_body_bytes=spec.gateway.max_body_bytes,
        timeout_seconds=spec.gateway.timeout_seconds,
        body_memory_bytes=spec.gateway.body_memory_bytes,
    )


def _build_models(spec: HostingSpec, root: Path, registry: str) -> dict[str, HostedModelArgs]:
    """Return the models, with the images that the specification pins."""
    return {
        name: replace(
            model,
            versions={
                version: replace(entry, image=f"{registry}/{name}@{pinned}" if pinned else None)
                for version, entry in model.versions.items()
                for pinned in (spec.models[name].versions[version].image,)
            },
        )
        for name, model in build_models(spec, root).items()
    }
