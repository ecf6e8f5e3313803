"""Deployment on this machine: a supervisor, one berth per model version, and the gateway."""

from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.gateway_config import declare_gateway_config
from berth.platforms.keys import client_keys
from berth.platforms.local.platform import run_directory
from berth.spec import HostingSpec, version_directory
from berth_protocol.model_card import digest
from pulumi_berth.local.berth import LocalBerth, LocalBerthArgs
from pulumi_berth.local.gateway import LocalGateway, LocalGatewayArgs
from pulumi_berth.local.supervisor import Supervisor
from pulumi_berth.serving_settings import ServingSettings


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Declare the resources of the stack, and return the stack's outputs."""
    run_dir = run_directory(root, stack)
    supervisor = Supervisor("supervisor", run_dir=run_dir)
    after_supervisor = pulumi.ResourceOptions(depends_on=[supervisor])

    berths: dict[tuple[str, str], LocalBerth] = {}
    for model, model_spec in spec.models.items():
        for version, entry in model_spec.versions.items():
            model_dir = version_directory(root, model, version, entry.path)
            berths[model, version] = LocalBerth(
                f"{model}-{version}",
                LocalBerthArgs(
                    run_dir=str(run_dir),
                    model=model,
                    version=version,
                    model_dir=str(model_dir),
                    digest=digest(model_dir),
                    serving=ServingSettings(**model_spec.serving.model_dump()),
                ),
                after_supervisor,
            )

    keys = client_keys(spec.gateway.clients)
    gateway = LocalGateway(
        "gateway",
        LocalGatewayArgs(
            run_dir=str(run_dir),
            config=declare_gateway_config(
                spec,
                keys,
                {version: berth.url for version, berth in berths.items()},
                splits_traffic=True,
            ),
            berths=[berth.process for berth in berths.values()],
            gateway_port=spec.local.gateway_port,
            admin_port=spec.local.admin_port,
        ),
        after_supervisor,
    )
    return {
        "endpoint": gateway.endpoint,
        "metrics": gateway.metrics,
        "api_keys": pulumi.Output.secret(keys),
        "models": {
            model: {
                "versions": {
                    version: {
                        "digest": berths[model, version].digest,
                        "process": berths[model, version].process,
                        "url": berths[model, version].url,
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
