"""The gateway's configuration, built from the specification for every platform."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pulumi

from berth.spec import ClientSpec, HostingSpec, ModelSpec
from berth_gateway.config import Client, GatewayConfig, Model, Quota
from pulumi_berth.api_key import hash_api_key


def build_gateway_config(
    spec: HostingSpec,
    key_digests: Mapping[str, str],
    urls: Mapping[tuple[str, str], str],
    *,
    splits_traffic: bool,
) -> GatewayConfig:
    """Build the configuration of a stack's gateway.

    Args:
        spec: Specification of the stack.
        key_digests: Client -> SHA-256 (hex) of its API key.
        urls: (model, version) -> base URL of its berth.
        splits_traffic: Whether the gateway forwards inference requests. If an ingress controller
            does, the weights are in its routes. The configuration then does not depend on them, so
            that changed weights do not restart the gateway.
    """
    return GatewayConfig(
        max_body_bytes=spec.gateway.max_body_bytes,
        timeout_seconds=spec.gateway.timeout_seconds,
        clients=[
            _build_client(name, client, key_digests[name])
            for name, client in spec.gateway.clients.items()
        ],
        models={
            name: _build_model(
                model,
                {version: urls[name, version] for version in model.versions},
                splits_traffic=splits_traffic,
            )
            for name, model in spec.models.items()
        },
    )


def declare_gateway_config(
    spec: HostingSpec,
    keys: Mapping[str, pulumi.Output[str]],
    urls: Mapping[tuple[str, str], pulumi.Output[str]],
    *,
    splits_traffic: bool,
) -> pulumi.Output[dict[str, Any]]:
    """Return the configuration as a dictionary, for the gateway component of a platform.

    The result contains only digests of the API keys, so it is not a secret.
    """
    digests = {name: pulumi.Output.unsecret(key.apply(hash_api_key)) for name, key in keys.items()}
    return pulumi.Output.all(digests=digests, urls=list(urls.values())).apply(
        lambda known: msgspec.to_builtins(
            build_gateway_config(
                spec,
                known["digests"],
                dict(zip(urls, known["urls"], strict=True)),
                splits_traffic=splits_traffic,
            )
        )
    )


def _build_client(name: str, client: ClientSpec, key_digest: str) -> Client:
    quota = client.quota
    return Client(
        name=name,
        key_sha256=[key_digest],
        rate_per_second=client.rate_per_second,
        burst=client.burst,
        quota=None if quota is None else Quota(requests=quota.requests, period=quota.period),
    )


def _build_model(model: ModelSpec, urls: dict[str, str], *, splits_traffic: bool) -> Model:
    exposed = model.exposed_versions
    return Model(
        versions=urls,
        exposed=exposed,
        traffic=dict(model.traffic) if splits_traffic else {exposed[0]: 100},
        shadow=model.shadow if splits_traffic else None,
    )
