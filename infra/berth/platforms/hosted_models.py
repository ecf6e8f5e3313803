"""The models and clients of a specification, as arguments of the hosting components."""

from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.platforms.stack_context import StackContext
from berth.project import read_project_name
from berth.spec import ClientSpec, HostingSpec, ModelSpec, version_directory
from pulumi_berth.gateway_clients import BlockingArgs, ClientKeyArgs, JwtArgs
from pulumi_berth.hosted_models import (
    ClientArgs,
    ClientQuotaArgs,
    HostedModelArgs,
    HostedVersionArgs,
    QuotaPeriod,
    ReplicaArgs,
    ResourceArgs,
)
from pulumi_berth.monitoring.scraped_stack import ScrapedStack, find_quotas
from pulumi_berth.own_container import OwnContainerArgs
from pulumi_berth.serving_settings import ServingSettings

_MAX_KEY_SET_CHARACTERS = 256 << 10


def build_models(spec: HostingSpec, root: Path) -> dict[str, HostedModelArgs]:
    """Return the models of a specification. Their images are not set."""
    return {name: _build_model(name, model, root) for name, model in spec.models.items()}


def build_clients(spec: HostingSpec) -> dict[str, ClientArgs]:
    """Return the clients of a specification."""
    return {name: _build_client(client) for name, client in spec.gateway.clients.items()}


def build_jwt(spec: HostingSpec, root: Path) -> JwtArgs | None:
    """Return the issuer of tokens of a specification, with the content of its key file."""
    jwt = spec.gateway.jwt
    if jwt is None:
        return None
    return JwtArgs(
        issuer=jwt.issuer,
        audience=jwt.audience,
        client_claim=jwt.client_claim,
        jwks_url=jwt.jwks_url,
        jwks=None if jwt.jwks_file is None else _read_key_set(root / jwt.jwks_file),
    )


def build_blocking(spec: HostingSpec) -> BlockingArgs:
    """Return when clients and addresses are blocked."""
    return BlockingArgs(**spec.gateway.blocking.model_dump())


def describe_scraped_gateway(context: StackContext) -> ScrapedStack:
    """Return a stack without a cluster as Prometheus sees it: its gateway forwards all requests."""
    return ScrapedStack(
        project=read_project_name(context.root),
        stack=context.stack,
        quotas=find_quotas(build_clients(context.spec)),
        is_forwarding=True,
        has_shared_limits=False,
    )


def _read_key_set(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_KEY_SET_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise OperationError(
            f"Cannot read gateway.jwt.jwks_file {path}: {reason}. Correct the path."
        ) from error
    if len(text) > _MAX_KEY_SET_CHARACTERS:
        raise OperationError(
            f"gateway.jwt.jwks_file {path} is longer than {_MAX_KEY_SET_CHARACTERS} characters. "
            "Store only the issuer's public keys in it."
        )
    return text


def _build_model(name: str, model: ModelSpec, root: Path) -> HostedModelArgs:
    return HostedModelArgs(
        versions={
            version: HostedVersionArgs(
                directory=None
                if entry.container is not None
                else str(version_directory(root, name, version, entry.path)),
                container=None
                if entry.container is None
                else OwnContainerArgs(
                    image=entry.container.image,
                    context=None
                    if entry.container.context is None
                    else str((root / entry.container.context).resolve()),
                    port=entry.container.port,
                ),
                exposed=entry.exposed,
                cold_standby=entry.standby == "cold",
            )
            for version, entry in model.versions.items()
        },
        traffic=model.traffic,
        shadow=model.shadow,
        failover=model.failover,
        serving=ServingSettings(**model.serving.model_dump(), **_build_capture(model)),
        replicas=ReplicaArgs(**model.replicas.model_dump()),
        resources=ResourceArgs(
            cpu=model.resources.cpu,
            cpu_limit=model.resources.cpu_limit,
            memory=model.resources.memory,
            gpus=model.resources.gpu,
        ),
    )


def _build_capture(model: ModelSpec) -> dict[str, Any]:
    """Return the settings of the capture. Without it, they do not change the berths."""
    if not model.capture.percent:
        return {}
    return {f"capture_{name}": value for name, value in model.capture.model_dump().items()}


def _build_client(client: ClientSpec) -> ClientArgs:
    quota = None
    if client.quota is not None:
        quota = ClientQuotaArgs(
            requests=client.quota.requests, period=QuotaPeriod(client.quota.period)
        )
    return ClientArgs(
        rate_per_second=client.rate_per_second,
        burst=client.burst,
        quota=quota,
        key=client.key,
        keys=None
        if client.keys is None
        else {
            name: ClientKeyArgs(key=key.key, expires=key.expires)
            for name, key in client.keys.items()
        },
        models=client.models,
        subjects=client.jwt_subjects,
    )
