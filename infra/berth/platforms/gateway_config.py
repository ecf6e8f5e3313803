"""The gate's table: who may call, how much, and which berth answers."""

from collections.abc import Mapping
from typing import Any

import pulumi

from berth.spec import ClientSpec, HostingSpec, ModelSpec


def gate_table(
    spec: HostingSpec,
    key_sha256: Mapping[str, pulumi.Output[str]],
    urls: Mapping[tuple[str, str], pulumi.Output[str]],
) -> pulumi.Output[Any]:
    """The table as berth_gateway.table.Table describes it.

    Weights stand in the models' routes and nowhere else: here the first exposed version has all,
    which decides nothing, for no inference request comes this way.
    """
    return pulumi.Output.all(keys=dict(key_sha256), urls=_by_model(urls)).apply(
        lambda known: {
            "max_body_bytes": spec.gateway.max_body_bytes,
            "timeout_seconds": spec.gateway.timeout_seconds,
            "clients": [
                _client(name, client, known["keys"][name])
                for name, client in spec.gateway.clients.items()
            ],
            "models": {
                name: _model(model, known["urls"][name]) for name, model in spec.models.items()
            },
        }
    )


def _by_model(
    urls: Mapping[tuple[str, str], pulumi.Output[str]],
) -> dict[str, dict[str, pulumi.Output[str]]]:
    found: dict[str, dict[str, pulumi.Output[str]]] = {}
    for (model, version), url in urls.items():
        found.setdefault(model, {})[version] = url
    return found


def _client(name: str, client: ClientSpec, key_sha256: str) -> dict[str, Any]:
    return {
        "name": name,
        "key_sha256": [key_sha256],
        "rate_per_second": client.rate_per_second,
        "burst": client.burst,
        "quota": client.quota.model_dump() if client.quota else None,
    }


def _model(model: ModelSpec, urls: Mapping[str, str]) -> dict[str, Any]:
    exposed = model.exposed_versions
    return {
        "versions": dict(urls),
        "exposed": exposed,
        "traffic": {exposed[0]: 100},
        "shadow": None,
    }
