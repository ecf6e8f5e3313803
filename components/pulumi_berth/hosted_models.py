"""Models and clients of a hosting stack: arguments of all hosting components."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pulumi

from berth_protocol.model_card import CARD_FILE, digest
from pulumi_berth.component_args import ArgumentError
from pulumi_berth.gateway_clients import ClientKeyArgs
from pulumi_berth.kubernetes.dataset_mount import DatasetMount
from pulumi_berth.own_container import (
    OwnContainerArgs,
    find_container_problem,
    get_container_digest,
)
from pulumi_berth.own_container_rules import NO_CONTAINERS
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.traffic_rules import (
    ModelUse,
    VersionUse,
    complete_traffic,
    find_exposed_versions,
    find_traffic_problems,
)


@dataclass(frozen=True, kw_only=True)
class HostedVersionArgs:
    """A deployed version of a model. It runs in its own berth."""

    directory: str | None = None
    """Directory of the packaged version, with `model.yaml` and the files that it lists. A relative
    path starts at the working directory of the program. Required without `container`."""
    container: OwnContainerArgs | None = None
    """Container of your own that serves the version instead of Berth's serving program. Cannot be
    combined with `directory` and `image`. `LocalHosting` runs no containers."""
    exposed: bool | None = None
    """If true, clients can call the version by name. By default, a version is exposed while it has
    traffic."""
    image: pulumi.Input[str] | None = None
    """Serving image to run, `registry/name@sha256:...`. By default, it is built from `directory`.
    `LocalHosting` uses no image."""
    cold_standby: bool | None = None
    """If true, the version has no replica while it receives no requests. By default, it keeps
    `replicas.min`. `LocalHosting` and `DockerHosting` keep every version running."""


@dataclass(frozen=True, kw_only=True)
class ReplicaArgs:
    """Number of replicas of each berth. `LocalHosting` runs one process per berth instead, and
    `DockerHosting` one container."""

    min: int | None = None
    """Minimum number of replicas. Defaults to 1."""
    max: int | None = None
    """Maximum number of replicas. Defaults to `min`."""
    target_cpu_percent: int | None = None
    """CPU utilization that the autoscaler maintains, in percent of `resources.cpu`. Defaults to
    70."""
    target_in_flight: int | None = None
    """Running and queued requests per replica that the autoscaler also maintains. The cluster must
    serve that metric. By default, the autoscaler uses only CPU utilization."""


@dataclass(frozen=True, kw_only=True)
class ResourceArgs:
    """Resources of each replica. `LocalHosting` enforces only `memory`, and only for requests."""

    cpu: pulumi.Input[str] | None = None
    """CPU cores that are reserved, as a Kubernetes quantity. Defaults to `1`."""
    cpu_limit: pulumi.Input[str] | None = None
    """CPU cores that the replica may use while its node has them. Defaults to `cpu`. A higher limit
    shortens the start."""
    memory: pulumi.Input[str] | None = None
    """Memory, as a Kubernetes quantity, as both request and limit. Defaults to `512Mi`. The berth
    refuses a request that needs more than is left of it."""
    gpus: int | None = None
    """GPUs. Defaults to 0."""


@dataclass(frozen=True, kw_only=True)
class HostedModelArgs:
    """A model: its deployed versions and how its traffic is split."""

    versions: Mapping[str, HostedVersionArgs]
    """Deployed versions by name."""
    traffic: Mapping[str, int] | None = None
    """Percentage of the requests without a version that each version receives. The percentages add
    up to 100. A single version receives all requests by default."""
    shadow: str | None = None
    """Version without traffic that receives duplicates of requests. Its responses are discarded."""
    failover: bool | None = None
    """If true, healthy versions with traffic receive the requests of a version that is not ready.
    Defaults to true."""
    serving: ServingSettings | None = None
    """Limits and session options of the serving program."""
    replicas: ReplicaArgs | None = None
    """Number of replicas of each berth."""
    resources: ResourceArgs | None = None
    """Resources of each replica."""
    datasets: Sequence[DatasetMount] | None = None
    """Datasets that the model reads at `/data/<name>`. `LocalHosting` and `DockerHosting` reject
    them, because only a cluster mounts them."""


class QuotaPeriod(StrEnum):
    """A calendar period in UTC. A week begins on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True)
class ClientQuotaArgs:
    """A limit on requests per calendar period."""

    requests: int
    """Requests per period. The gateway rejects further requests with 429 until the next period."""
    period: QuotaPeriod | None = None
    """Calendar period. Defaults to `day`."""


@dataclass(frozen=True, kw_only=True)
class ClientArgs:
    """A client of the gateway: its API keys, its models and its limits."""

    rate_per_second: float | None = None
    """Sustained requests per second. The gateway rejects further requests with 429. Defaults to
    50."""
    burst: int | None = None
    """Requests that may arrive at once after a pause. Defaults to 100."""
    quota: ClientQuotaArgs | None = None
    """Limit on requests per calendar period. Defaults to no limit."""
    key: pulumi.Input[str] | None = None
    """API key of 20 to 128 printable ASCII characters, a secret. By default, one is generated. It
    is the key named `default` of `keys`; set only one of the two."""
    keys: Mapping[str, ClientKeyArgs] | None = None
    """API keys by name. While a key is replaced, the client has two. Defaults to one key named
    `default`. Empty if the client identifies itself only by tokens."""
    models: Sequence[str] | None = None
    """Models that the client can call. Other models look missing. Defaults to all models."""
    subjects: Sequence[str] | None = None
    """Values of the client claim in JSON Web Tokens of this client. Defaults to none."""


NO_DATASETS = (
    "is set, and only a cluster mounts datasets; use KubernetesHosting, or put the data into the "
    "model version or the image of its container"
)
"""The reason why hosting without a cluster rejects datasets."""
DEFAULT_KEY = "default"
"""Name of a client's only key."""


def resolve_keys(client: ClientArgs) -> Mapping[str, ClientKeyArgs]:
    """Return the keys of a client by name."""
    if client.keys is None:
        return {DEFAULT_KEY: ClientKeyArgs(key=client.key)}
    return client.keys


def find_newest_key(client: ClientArgs) -> str | None:
    """Return the name of the key that is valid for the longest time; of several, the last one.

    Returns:
        None if the client has no key.
    """
    keys = resolve_keys(client)
    newest = None
    for name, key in keys.items():
        if newest is None or (key.expires or "9") >= (keys[newest].expires or "9"):
            newest = name
    return newest


def resolve_clients(clients: Mapping[str, ClientArgs] | None) -> Mapping[str, ClientArgs]:
    """Return the clients by name. By default, there is one with the default limits."""
    return {"default": ClientArgs()} if clients is None else clients


def find_traffic(model: HostedModelArgs) -> dict[str, int]:
    """Return the percentage of the requests that each version receives."""
    return complete_traffic(model.traffic, model.versions)


def can_fail_over(model: HostedModelArgs) -> bool:
    """Return whether another version can receive the share of a version that is not ready."""
    has_others = sum(percent > 0 for percent in find_traffic(model).values()) > 1
    return model.failover is not False and has_others


def find_own_containers(model: HostedModelArgs) -> list[str]:
    """Return the versions that run in containers of the user's own."""
    return [version for version, entry in model.versions.items() if entry.container is not None]


def list_own_containers(models: Mapping[str, HostedModelArgs]) -> list[tuple[str, str]]:
    """Return each (model, version) that runs in a container of the user's own."""
    return [
        (name, version) for name, model in models.items() for version in find_own_containers(model)
    ]


def find_exposed(model: HostedModelArgs) -> list[str]:
    """Return the versions that clients can call by name."""
    return find_exposed_versions(_describe_use(model))


def _describe_use(model: HostedModelArgs) -> ModelUse:
    # A used version has replicas even if it is declared as a cold standby: see `plan_replicas`.
    return ModelUse(
        versions={
            version: VersionUse(exposed=entry.exposed) for version, entry in model.versions.items()
        },
        traffic=find_traffic(model),
        shadow=model.shadow,
    )


def find_digest(entry: HostedVersionArgs) -> pulumi.Input[str]:
    """Return what identifies a version: the digest of its card, or of its own container."""
    if entry.container is not None:
        return get_container_digest(entry.container)
    assert entry.directory is not None, "check_models requires one of both"
    return digest(find_model_dir(entry.directory))


def find_model_dir(directory: str) -> Path:
    """Return the absolute path of a version's directory."""
    return Path(directory).resolve()


def find_model_dir_problem(directory: str) -> str | None:
    """Return why a directory is not that of a packaged version, or None."""
    model_dir = find_model_dir(directory)
    if (model_dir / CARD_FILE).is_file():
        return None
    return (
        f"{model_dir} contains no {CARD_FILE}; correct the path, or package the model with 'berth "
        "package'"
    )


def check_clients(
    clients: Mapping[str, ClientArgs] | None, models: Mapping[str, HostedModelArgs]
) -> None:
    """Check that each client can identify itself and that its models exist.

    Raises:
        ArgumentError: With all problems.
    """
    problems: list[tuple[str, str]] = []
    for name, client in resolve_clients(clients).items():
        path = f"clients.{name}"
        if client.key is not None and client.keys is not None:
            problems.append((f"{path}.key", "is set next to keys; move it to keys.default.key"))
        if not resolve_keys(client) and not client.subjects:
            problems.append((f"{path}.keys", "is empty; add a key, or subjects"))
        problems += [
            (f"{path}.models", f"contains the unknown model {model}; known: {', '.join(models)}")
            for model in client.models or ()
            if model not in models
        ]
    if problems:
        raise ArgumentError(problems)


def check_models(
    models: Mapping[str, HostedModelArgs],
    *,
    allows_containers: bool = True,
    allows_datasets: bool = True,
) -> None:
    """Check that the traffic of each model is complete and consistent, and that its files exist.

    Args:
        allows_containers: Whether the platform runs containers of the user's own.
        allows_datasets: Whether the platform mounts datasets.

    Raises:
        ArgumentError: With all problems.
    """
    problems = [
        (f"models.{name}.{path}", reason)
        for name, model in models.items()
        for path, reason in _find_problems(model, allows_containers)
    ]
    if not allows_datasets:
        problems += [
            (f"models.{name}.datasets", NO_DATASETS)
            for name, model in models.items()
            if model.datasets
        ]
    if problems:
        raise ArgumentError(problems)


def _find_problems(model: HostedModelArgs, allows_containers: bool) -> Iterator[tuple[str, str]]:
    for problem in find_traffic_problems(_describe_use(model)):
        value = "" if problem.value is None else f"{problem.value} "
        yield ".".join(problem.path), f"{value}{problem.message}"
    for version, entry in model.versions.items():
        path = f"versions.{version}"
        if entry.container is not None:
            if not allows_containers:
                yield f"{path}.container", NO_CONTAINERS
            if entry.directory is not None or entry.image is not None:
                yield f"{path}.container", "is set next to directory or image; remove one of them"
            if reason := find_container_problem(entry.container):
                yield f"{path}.container", reason
        elif entry.directory is None:
            yield f"{path}.directory", "is missing; set it, or a container"
        elif reason := find_model_dir_problem(entry.directory):
            yield f"{path}.directory", reason
