"""The local platform: berths and gateway as supervised processes of this machine."""

from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.keys import client_keys
from berth.spec import ClientSpec, HostingSpec, ModelSpec, version_directory
from berth_protocol.model_card import digest
from pulumi_berth.api_key import key_sha256
from pulumi_berth.local.berth import Berth, BerthArgs
from pulumi_berth.local.gateway import Client, Gateway, GatewayArgs, Route
from pulumi_berth.local.supervisor import Supervisor
from pulumi_berth.serving_settings import ServingSettings


def run_folder(root: Path, stack: str) -> Path:
    """Where the stack `stack` of the project in `root` lives while it runs."""
    return root / ".berth" / "run" / stack


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Supervisor -> one berth per model version -> gateway."""
    run_dir = run_folder(root, stack)
    supervisor = Supervisor("supervisor", run_dir=run_dir)
    under_supervisor = pulumi.ResourceOptions(depends_on=[supervisor])

    berths = {
        (model, version): Berth(
            f"{model}-{version}",
            BerthArgs(
                run_dir=run_dir,
                model=model,
                version=version,
                model_dir=version_directory(root, model, version, entry.path),
                digest=digest(version_directory(root, model, version, entry.path)),
                serving=ServingSettings(**model_spec.serving.model_dump()),
            ),
            under_supervisor,
        )
        for model, model_spec in spec.models.items()
        for version, entry in model_spec.versions.items()
    }

    keys = client_keys(spec.gateway.clients)
    gateway = Gateway(
        "gateway",
        GatewayArgs(
            run_dir=run_dir,
            clients={
                name: _client(client, sha256=pulumi.Output.unsecret(keys[name].apply(key_sha256)))
                for name, client in spec.gateway.clients.items()
            },
            routes={
                model: _route(model_spec, {v: berths[model, v] for v in model_spec.versions})
                for model, model_spec in spec.models.items()
            },
            berths=[berth.process for berth in berths.values()],
            gateway_port=spec.local.gateway_port,
            admin_port=spec.local.admin_port,
            max_body_bytes=spec.gateway.max_body_bytes,
            timeout_seconds=spec.gateway.timeout_seconds,
        ),
        under_supervisor,
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


def _client(client: ClientSpec, *, sha256: pulumi.Output[str]) -> Client:
    return Client(
        key_sha256=sha256,
        rate_per_second=client.rate_per_second,
        burst=client.burst,
        quota_requests=client.quota.requests if client.quota else None,
        quota_period=client.quota.period if client.quota else None,
    )


def _route(model: ModelSpec, berths: dict[str, Berth]) -> Route:
    return Route(
        versions={version: berth.url for version, berth in berths.items()},
        exposed=model.exposed_versions,
        traffic=model.traffic,
        shadow=model.shadow,
    )
