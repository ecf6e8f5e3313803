"""The gateway's configuration, built from the models and clients of a hosting stack."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pulumi

from berth_gateway.config import Client, GatewayConfig, Model, Quota
from pulumi_berth.api_key import hash_api_key
from pulumi_berth.hosted_models import (
    ClientArgs,
    HostedModelArgs,
    QuotaPeriod,
    find_exposed,
    find_traffic,
)
from pulumi_berth.values import default_to

DEFAULT_MAX_BODY_BYTES = 10 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 30.0


def build_gateway_config(
    models: Mapping[str, HostedModelArgs],
    clients: Mapping[str, ClientArgs],
    key_digests: Mapping[str, str],
    urls: Mapping[tuple[str, str], str],
    *,
    max_body_bytes: int | None = None,
    timeout_seconds: float | None = None,
    splits_traffic: bool,
) -> GatewayConfig:
    """Build the configuration of a stack's gateway.

    Args:
        key_digests: Client -> SHA-256 (hex) of its API key.
        urls: (model, version) -> base URL of its berth.
        max_body_bytes: Maximum size of a request body. Defaults to DEFAULT_MAX_BODY_BYTES.
        timeout_seconds: Time limit for a berth's response. Defaults to DEFAULT_TIMEOUT_SECONDS.
        splits_traffic: Whether the gateway forwards inference requests. If an ingress controller
            does, the weights are in its routes. The configuration then does not depend on them, so
            that changed weights do not restart the gateway.
    """
    return GatewayConfig(
        max_body_bytes=default_to(max_body_bytes, DEFAULT_MAX_BODY_BYTES),
        timeout_seconds=default_to(timeout_seconds, DEFAULT_TIMEOUT_SECONDS),
        clients=[
            _build_client(name, client, key_digests[name]) for name, client in clients.items()
        ],
        models={
            name: _build_model(
                model,
                {version: urls[name, version] for version in model.versions},
                splits_traffic=splits_traffic,
            )
            for name, model in models.items()
        },
    )


def declare_gateway_config(
    models: Mapping[str, HostedModelArgs],
    clients: Mapping[str, ClientArgs],
    keys: Mapping[str, pulumi.Output[str]],
    urls: Mapping[tuple[str, str], pulumi.Output[str]],
    *,
    max_body_bytes: int | None,
    timeout_seconds: float | None,
    splits_traffic: bool,
) -> pulumi.Output[dict[str, Any]]:
    """Return the configuration as a dictionary, for the gateway component of a platform.

    The result contains only digests of the API keys, so it is not a secret.
    """
    digests = {name: pulumi.Output.unsecret(key.apply(hash_api_key)) for name, key in keys.items()}
    return pulumi.Output.all(digests=digests, urls=list(urls.values())).apply(
        lambda known: msgspec.to_builtins(
            build_gateway_config(
                models,
                clients,
                known["digests"],
                dict(zip(urls, known["urls"], strict=True)),
                max_body_bytes=max_body_bytes,
                timeout_seconds=timeout_seconds,
                splits_traffic=splits_traffic,
            )
        )
    )


def _build_client(name: str, client: ClientArgs, key_digest: str) -> Client:
    quota = None
    if client.quota is not None:
        period = default_to(client.quota.period, QuotaPeriod.DAY)
        quota = Quota(requests=client.quota.requests, period=period.value)
    return Client(
        name=name,
        key_sha256=[key_digest],
        rate_per_second=default_to(client.rate_per_second, 50.0),
        burst=default_to(client.burst, 100),
        quota=quota,
    )


def _build_model(model: HostedModelArgs, urls: dict[str, str], *, splits_traffic: bool) -> Model:
    exposed = find_exposed(model)
    return Model(
        versions=urls,
        exposed=exposed,
        traffic=find_traffic(model) if splits_traffic else {exposed[0]: 100},
        shadow=model.shadow if splits_traffic else None,
    )
