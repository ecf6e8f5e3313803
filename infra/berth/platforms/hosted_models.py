"""The models and clients of a specification, as arguments of the hosting components."""

from pathlib import Path

from berth.spec import ClientSpec, HostingSpec, ModelSpec, version_directory
from pulumi_berth.hosted_models import (
    ClientArgs,
    ClientQuotaArgs,
    HostedModelArgs,
    HostedVersionArgs,
    QuotaPeriod,
    ReplicaArgs,
    ResourceArgs,
)
from pulumi_berth.serving_settings import ServingSettings


def build_models(spec: HostingSpec, root: Path) -> dict[str, HostedModelArgs]:
    """Return the models of a specification. Their images are not set."""
    return {name: _build_model(name, model, root) for name, model in spec.models.items()}


def build_clients(spec: HostingSpec) -> dict[str, ClientArgs]:
    """Return the clients of a specification."""
    return {name: _build_client(client) for name, client in spec.gateway.clients.items()}


def _build_model(name: str, model: ModelSpec, root: Path) -> HostedModelArgs:
    return HostedModelArgs(
        versions={
            version: HostedVersionArgs(
                directory=str(version_directory(root, name, version, entry.path)),
                exposed=entry.exposed,
                cold_standby=entry.standby == "cold",
            )
            for version, entry in model.versions.items()
        },
        traffic=model.traffic,
        shadow=model.shadow,
        serving=ServingSettings(**model.serving.model_dump()),
        replicas=ReplicaArgs(**model.replicas.model_dump()),
        resources=ResourceArgs(
            cpu=model.resources.cpu,
            cpu_limit=model.resources.cpu_limit,
            memory=model.resources.memory,
            gpus=model.resources.gpu,
        ),
    )


def _build_client(client: ClientSpec) -> ClientArgs:
    quota = None
    if client.quota is not None:
        quota = ClientQuotaArgs(
            requests=client.quota.requests, period=QuotaPeriod(client.quota.period)
        )
    return ClientArgs(
        rate_per_second=client.rate_per_second, burst=client.burst, quota=quota, key=client.key
    )
