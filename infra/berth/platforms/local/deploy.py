"""Deployment on this machine: a supervisor, one berth per model version, and the gateway."""

from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.hosted_models import (
    build_blocking,
    build_clients,
    build_jwt,
    build_models,
)
from berth.platforms.local.platform import run_directory
from berth.spec import HostingSpec
from pulumi_berth.api_key import describe_keys, select_newest_keys
from pulumi_berth.local.hosting import LocalHostingArgs, declare_local_hosting


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Declare the resources of the stack, and return the stack's outputs."""
    clients = build_clients(spec)
    parts = declare_local_hosting(
        LocalHostingArgs(
            run_dir=str(run_directory(root, stack)),
            models=build_models(spec, root),
            clients=clients,
            jwt=build_jwt(spec, root),
            blocking=build_blocking(spec),
            gateway_port=spec.local.gateway_port,
            admin_port=spec.local.admin_port,
            max_body_bytes=spec.gateway.max_body_bytes,
            timeout_seconds=spec.gateway.timeout_seconds,
            body_memory_bytes=spec.gateway.body_memory_bytes,
        )
    )
    return {
        "endpoint": parts.gateway.endpoint,
        "metrics": parts.gateway.metrics,
        "api_keys": pulumi.Output.secret(select_newest_keys(clients, parts.keys)),
        "client_keys": pulumi.Output.secret(describe_keys(clients, parts.keys)),
        "models": {
            model: {
                "versions": {
                    version: {
                        "digest": parts.berths[model, version].digest,
                        "process": parts.berths[model, version].process,
                        "url": parts.berths[model, version].url,
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
