"""The gateway's configuration, built from the models and clients of a hosting stack."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pulumi

from berth_gateway.config import Blocking, Client, GatewayConfig, Jwt, Key, Model, Quota
from pulumi_berth.api_key import ClientKeys, hash_api_key
from pulumi_berth.component_args import ArgumentError
from pulumi_berth.gateway_clients import BlockingArgs, JwtArgs
from pulumi_berth.hosted_models import (
    ClientArgs,
    HostedModelArgs,
    QuotaPeriod,
    find_exposed,
    find_own_containers,
    find_traffic,
    resolve_keys,
)
from pulumi_berth.values import default_to

DEFAULT_MAX_BODY_BYTES = 10 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 30.0


def build_gateway_config(
    models: Mapping[str, HostedModelArgs],
    clients: Mapping[str, ClientArgs],
    key_digests: Mapping[str, Mapping[str, str]],
    urls: Mapping[tuple[str, str], str],
    *,
    max_body_bytes: int | None = None,
    timeout_seconds: float | None = None,
    body_memory_bytes: int | None = None,
    jwt: JwtArgs | None = None,
    blocking: BlockingArgs | None = None,
    splits_traffic: bool,
) -> GatewayConfig:
    """Build the configuration of a stack's gateway.

    Args:
        key_digests: Client -> name of the key -> SHA-256 (hex) of the key.
        urls: (model, version) -> base URL of its berth.
        max_body_bytes: Maximum size of a request body. Defaults to DEFAULT_MAX_BODY_BYTES.
        timeout_seconds: Time limit for a berth's response. Defaults to DEFAULT_TIMEOUT_SECONDS.
        body_memory_bytes: Memory for all request bodies together. Defaults to a quarter of the
            container's memory.
        jwt: Issuer of tokens. Defaults to none.
        blocking: When clients and addresses are blocked.
        splits_traffic: Whether the gateway forwards all inference requests. If an ingress
            controller forwards them, except those that are mirrored, the weights are in its routes.
            The configuration then does not depend on them, so that changed weights do not restart
            the gateway.
    """
    return GatewayConfig(
        max_body_bytes=default_to(max_body_bytes, DEFAULT_MAX_BODY_BYTES),
        timeout_seconds=default_to(timeout_seconds, DEFAULT_TIMEOUT_SECONDS),
        body_memory_bytes=body_memory_bytes,
        clients=[
            _build_client(name, client, key_digests[name], models)
            for name, client in clients.items()
        ],
        models={
            name: _build_model(
                model,
                {version: urls[name, version] for version in model.versions},
                splits_traffic=splits_traffic or needs_gateway(model),
            )
            for name, model in models.items()
        },
        jwt=_build_jwt(jwt) if jwt is not None else None,
        blocking=_build_blocking(blocking or BlockingArgs()),
    )


def declare_gateway_config(
    models: Mapping[str, HostedModelArgs],
    clients: Mapping[str, ClientArgs],
    keys: ClientKeys,
    urls: Mapping[tuple[str, str], pulumi.Output[str]],
    *,
    max_body_bytes: int | None,
    timeout_seconds: float | None,
    body_memory_bytes: int | None = None,
    jwt: JwtArgs | None = None,
    blocking: BlockingArgs | None = None,
    splits_traffic: bool,
) -> pulumi.Output[dict[str, Any]]:
    """Return the configuration as a dictionary, for the gateway component of a platform.

    The result contains only digests of the API keys, so it is not a secret.
    """
    digests = {
        client: {
            name: pulumi.Output.unsecret(key.apply(hash_api_key)) for name, key in entries.items()
        }
        for client, entries in keys.items()
    }
    return pulumi.Output.all(digests=digests, urls=list(urls.values())).apply(
        lambda known: msgspec.to_builtins(
            build_gateway_config(
                models,
                clients,
                known["digests"],
                dict(zip(urls, known["urls"], strict=True)),
                max_body_bytes=max_body_bytes,
                timeout_seconds=timeout_seconds,
                body_memory_bytes=body_memory_bytes,
                jwt=jwt,
                blocking=blocking,
                splits_traffic=splits_traffic,
            )
        )
    )


def needs_gateway(model: HostedModelArgs) -> bool:
    """Return whether the gateway forwards a model's requests, also behind an ingress controller.

    It mirrors requests for a shadow version. An own container does not limit bodies, and does not
    check the token by which only authorized requests reach a berth, so the gateway does it.
    """
    return model.shadow is not None or bool(find_own_containers(model))


def _build_client(
    name: str,
    client: ClientArgs,
    key_digests: Mapping[str, str],
    models: Mapping[str, HostedModelArgs],
) -> Client:
    quota = None
    if client.quota is not None:
        period = default_to(client.quota.period, QuotaPeriod.DAY)
        quota = Quota(requests=client.quota.requests, period=period.value)
    return Client(
        name=name,
        keys=[
            Key(name=key_name, sha256=key_digests[key_name], expires=parse_expiry(key.expires))
            for key_name, key in resolve_keys(client).items()
        ],
        rate_per_second=default_to(client.rate_per_second, 50.0),
        burst=default_to(client.burst, 100),
        quota=quota,
        # An edge site hosts only some of the stack's models.
        models=None if client.models is None else [m for m in client.models if m in models],
        subjects=list(client.subjects or ()),
    )


def parse_expiry(text: str | None) -> datetime | None:
    """Return the time at which a key expires. A date means 00:00 UTC.

    Raises:
        ArgumentError: If the text is neither a date nor a time.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentError(
            [("expires", f"is {text}; use a time such as 2027-03-31T18:00:00Z")]
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _build_jwt(jwt: JwtArgs) -> Jwt:
    try:
        jwks = None if jwt.jwks is None else json.loads(jwt.jwks)
    except ValueError:
        raise ArgumentError([("jwt.jwks", "is not JSON; use a JSON Web Key Set")]) from None
    if not isinstance(jwks, dict | None) or (jwks is None) == (jwt.jwks_url is None):
        raise ArgumentError([("jwt", "needs one of jwks_url and jwks, a JSON Web Key Set")])
    return Jwt(
        issuer=jwt.issuer,
        audience=jwt.audience,
        client_claim=default_to(jwt.client_claim, "sub"),
        jwks_url=jwt.jwks_url,
        jwks=jwks,
    )


def _build_blocking(blocking: BlockingArgs) -> Blocking | None:
    if blocking.enabled is False:
        return None
    return Blocking(
        rejections=default_to(blocking.rejections, 1000),
        invalid_keys=default_to(blocking.invalid_keys, 20),
        window_seconds=default_to(blocking.window_seconds, 60.0),
        first_seconds=default_to(blocking.first_seconds, 10.0),
        max_seconds=default_to(blocking.max_seconds, 3600.0),
    )


def _build_model(model: HostedModelArgs, urls: dict[str, str], *, splits_traffic: bool) -> Model:
    shares = [version for version, percent in find_traffic(model).items() if percent]
    return Model(
        versions=urls,
        exposed=find_exposed(model),
        traffic=find_traffic(model) if splits_traffic else {shares[0]: 100},
        shadow=model.shadow if splits_traffic else None,
        failover=default_to(model.failover, True),
        shares=[] if splits_traffic else shares,
        own_containers=find_own_containers(model),
    )
