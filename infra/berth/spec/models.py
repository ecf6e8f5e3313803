"""Models: the deployed versions, which of them are exposed, and how traffic is split."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from berth.project import version_directory as version_directory
from berth.spec.errors import Problem, build_rule_error, raise_problems
from berth.spec.fields import (
    CpuQuantity,
    Digest,
    MemoryQuantity,
    Name,
    ProjectPath,
    Section,
    Version,
    VersionName,
    parse_millicores,
)
from berth.spec.images import ImageByDigest
from pulumi_berth.own_container_rules import DEFAULT_PORT, LOWEST_PORT
from pulumi_berth.traffic_rules import (
    ModelUse,
    VersionUse,
    complete_traffic,
    find_exposed_versions,
    find_traffic_problems,
)


class ContainerSpec(Section):
    """A container of your own that serves the version, with any server of the Open Inference
    Protocol. It passes the same image check as Berth's own images."""

    image: ImageByDigest | None = None
    """Image by digest, such as `registry.example.com/team/server@sha256:…`. Berth copies it into
    the stack's registry, or without one into the engine. Set it or `context`."""
    context: ProjectPath | None = None
    """Directory with a `Dockerfile`, relative to the project. The command `docker` builds the image
    with the engine that it is configured for, on platform docker with that of the stack. Berth
    pushes it to the stack's registry, or without one loads it into the engine. An image of the same
    files is not built again."""
    port: int = Field(default=DEFAULT_PORT, ge=LOWEST_PORT, le=65535)
    """TCP port that its server listens on. The container does not run as root, so the port is 1024
    or higher."""
    example: ProjectPath | None = None
    """JSON file with an inference request, relative to the project. `berth invoke` and the check at
    the end of `berth up` send it. By default, there is none."""

    @model_validator(mode="after")
    def _check_source(self) -> "ContainerSpec":
        if (self.image is None) == (self.context is None):
            raise build_rule_error(Problem((), "needs one of image and context", False))
        return self


class VersionSpec(Section):
    """A deployed version of a model."""

    path: ProjectPath | None = None
    """Directory of the packaged version, relative to the project. Defaults to
    `models/<model>/<version>`."""
    digest: Digest | None = None
    """Digest that pins the version: the SHA-256 of its `model.yaml`, which lists the SHA-256 of
    every file. By default, the version is not pinned."""
    exposed: bool | None = None
    """If true, clients can call the version by name. By default, a version is exposed while it has
    traffic."""
    image: Digest | None = None
    """Digest of an existing serving image to run instead of building one. Not available on the
    local platform."""
    standby: Literal["warm", "cold"] = "warm"
    """Replicas while the version has no traffic: warm runs `replicas.min`, cold runs none.
    Platforms local and docker keep every version warm."""
    container: ContainerSpec | None = None
    """Container of your own that serves the version instead of Berth's serving program, for models
    that ONNX cannot express. Cannot be combined with `path`, `digest` and `image`. Not available on
    platform local, which runs processes."""

    @model_validator(mode="after")
    def _check_container(self) -> "VersionSpec":
        if self.container is not None:
            raise_problems(
                [
                    Problem((key,), "cannot be combined with container; remove one of them", False)
                    for key in ("path", "digest", "image")
                    if key in self.model_fields_set
                ]
            )
        return self


class ReplicaSpec(Section):
    """Number of replicas of each berth. The local platform ignores it and runs one process per
    berth with `serving.workers` workers."""

    min: int = Field(default=1, ge=0, le=1000)
    """Minimum number of replicas. Set to 0 to let an idle gpu berth release its node."""
    max: int = Field(default=1, ge=1, le=1000)
    """Maximum number of replicas. Not less than `min`."""
    target_cpu_percent: int = Field(default=70, ge=10, le=100)
    """CPU utilization that the autoscaler maintains, in percent of `resources.cpu`."""
    target_in_flight: int | None = Field(default=None, ge=1, le=10_000)
    """Running and queued requests per replica that the autoscaler also maintains, if the cluster
    provides that metric. By default, the autoscaler uses only CPU utilization."""

    @model_validator(mode="after")
    def _check_order(self) -> "ReplicaSpec":
        if self.min > self.max:
            raise build_rule_error(
                Problem(("min",), f"exceeds max ({self.max}); lower min or raise max")
            )
        return self


# NVIDIA's libraries and ResNet-18 take 845 MiB on an H200 (docs/measurements/gpus.md).
_GPU_BERTH_MEMORY = "2Gi"


class ResourceSpec(Section):
    """Resources of each replica. The local platform enforces only `memory`, for requests."""

    cpu: CpuQuantity = "1"
    """CPU cores that are reserved for the replica."""
    cpu_limit: CpuQuantity | None = None
    """CPU cores that the replica may use while its node has them. Not less than `cpu`, which is the
    default. A higher limit shortens the start."""
    memory: MemoryQuantity = "512Mi"
    """Memory, as both request and limit. A berth refuses a request with 413 if the model needs more
    for it than the loaded model leaves. Defaults to 2Gi with `compute: gpu`."""
    gpu: int = Field(default=0, ge=0, le=16)
    """GPUs. Defaults to 1 with `compute: gpu`, and to 0 with `compute: cpu`."""

    @model_validator(mode="after")
    def _check_limit(self) -> "ResourceSpec":
        if self.cpu_limit is not None and parse_millicores(self.cpu_limit) < parse_millicores(
            self.cpu
        ):
            raise build_rule_error(
                Problem(("cpu_limit",), f"is less than cpu ({self.cpu}); raise it or lower cpu")
            )
        return self


class ServingSpec(Section):
    """Limits and session options of the serving program in each replica."""

    workers: int = Field(default=1, ge=1, le=64)
    """Worker processes. Each loads the whole model into memory."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """Requests that each worker runs at the same time. Defaults to the CPU cores that the replica
    may use (`resources.cpu_limit`; on the local platform, all cores), divided by `workers`. More
    threads than the limit allows are throttled together."""
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads that run one request."""
    max_batch: int = Field(default=1024, ge=1, le=1_000_000)
    """Maximum number of rows in a request. The berth rejects larger requests with 413."""
    queue: int = Field(default=256, ge=0, le=100_000)
    """Maximum number of queued requests in each worker. The berth rejects further requests with 503
    at once."""
    deadline_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Time limit from a request's arrival to its response, in seconds. Afterwards the berth cancels
    the request and returns 504."""
    batch_size: int = Field(default=1, ge=1, le=4096)
    """Maximum number of rows of queued requests that run as one batch while the berth is busy. 1
    turns batching off."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1024**3)
    """Maximum size of a request body, in bytes. The berth rejects larger bodies with 413."""
    body_memory_bytes: int | None = Field(default=None, ge=1024**2, le=1024**4)
    """Memory of each worker for all request bodies together, in bytes. Beyond it, the berth rejects
    requests with 503. Defaults to a quarter of the container's memory, at most 1 GiB, divided by
    `workers`."""
    grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Time limit for in-flight requests to finish when the berth shuts down, in seconds."""
    data_drift: bool = True
    """If true, each worker compares the rows of requests with the training statistics of versions
    that have them, and exports the result as metrics."""
    data_drift_seconds: int = Field(default=900, ge=1, le=86_400)
    """Shortest window of requests that are compared together, in seconds. The rate of false alarms
    in a day does not depend on it."""
    data_drift_rows: int = Field(default=1000, ge=100, le=1_000_000_000)
    """Smallest number of rows of such a window. With few requests, a window lasts longer."""

    @model_validator(mode="after")
    def _check_batch_size(self) -> "ServingSpec":
        if self.batch_size > self.max_batch:
            raise build_rule_error(
                Problem(
                    ("batch_size",),
                    f"exceeds max_batch ({self.max_batch}); lower batch_size or raise max_batch",
                )
            )
        return self


class CaptureSpec(Section):
    """A sample of the requests that each berth keeps in memory until `berth capture` reads it. It
    can contain personal data. The requests are in no file and no log, and end with the berth."""

    percent: float = Field(default=0.0, ge=0, le=100)
    """Percentage of the requests that are captured. 0 turns the capture off."""
    redact: list[str] = Field(default=[], max_length=1000)
    """Inputs and outputs whose values are not captured."""
    max_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    """Bytes of captured requests in each replica, as JSON. Beyond it, the oldest are deleted."""
    keep_seconds: int = Field(default=3600, ge=1, le=604_800)
    """Time after which a captured request is deleted, in seconds."""


class ModelSpec(Section):
    """A model: its deployed versions and how its traffic is split."""

    versions: dict[VersionName, VersionSpec] = Field(min_length=1, max_length=50)
    """Deployed versions. Each runs in its own berth. `{}` is a version with default settings."""
    traffic: dict[VersionName, Annotated[int, Field(ge=0, le=100)]] = Field(
        default={}, max_length=50, validate_default=True
    )
    """Percentage of the requests without a version that each version receives. The percentages add
    up to 100. A model with one version may omit it: that version receives all requests."""
    shadow: Version | None = None
    """Version without traffic that receives duplicates of requests. Its responses are discarded."""
    failover: bool = True
    """If true, healthy versions with traffic receive the requests of a version that is not ready,
    and a metric counts them. If false, those requests fail."""
    compute: Literal["cpu", "gpu"] = "cpu"
    """Class of nodes that the berths run on."""
    replicas: ReplicaSpec = Field(default_factory=ReplicaSpec)
    """Number of replicas of each berth."""
    resources: ResourceSpec = Field(default_factory=ResourceSpec, validate_default=True)
    """Resources of each replica."""
    serving: ServingSpec = Field(default_factory=ServingSpec)
    """Limits and session options of the serving program in each replica."""
    capture: CaptureSpec = Field(default_factory=CaptureSpec)
    """Sample of the requests that each replica keeps in memory, off by default."""

    @property
    def exposed_versions(self) -> list[str]:
        """The versions that clients can call by name."""
        return find_exposed_versions(self._use)

    @field_validator("traffic", mode="after")
    @classmethod
    def _send_all_to_single_version(
        cls, traffic: dict[str, int], info: ValidationInfo
    ) -> dict[str, int]:
        return complete_traffic(traffic, info.data.get("versions", {}))

    @field_validator("resources", mode="after")
    @classmethod
    def _set_gpu_defaults(cls, resources: ResourceSpec, info: ValidationInfo) -> ResourceSpec:
        if info.data.get("compute") != "gpu":
            return resources
        defaults = {"gpu": 1, "memory": _GPU_BERTH_MEMORY}
        unset = defaults.keys() - resources.model_fields_set
        return resources.model_copy(update={name: defaults[name] for name in unset})

    @model_validator(mode="after")
    def _check(self) -> "ModelSpec":
        raise_problems([*self._traffic_problems(), *self._compute_problems()])
        return self

    @property
    def _use(self) -> ModelUse:
        return ModelUse(
            versions={
                version: VersionUse(exposed=entry.exposed, is_cold=entry.standby == "cold")
                for version, entry in self.versions.items()
            },
            traffic=self.traffic,
            shadow=self.shadow,
        )

    def _traffic_problems(self) -> Iterator[Problem]:
        for problem in find_traffic_problems(self._use):
            yield Problem(problem.path, problem.message, problem.value is not None)

    def _compute_problems(self) -> Iterator[Problem]:
        if (self.compute == "gpu") != (self.resources.gpu > 0):
            yield Problem(
                ("resources", "gpu"),
                f"cannot be combined with compute: {self.compute}; "
                + ("use 1 or more" if self.compute == "gpu" else "use 0 or set compute: gpu"),
            )
        own = [version for version, entry in self.versions.items() if entry.container is not None]
        if own and self.replicas.target_in_flight is not None:
            yield Problem(
                ("replicas", "target_in_flight"),
                f"cannot be combined with the container of version {own[0]}, which does not report "
                "requests in flight; use target_cpu_percent",
            )
        if self.capture.percent and self.serving.workers > 1:
            yield Problem(
                ("capture", "percent"),
                f"cannot be combined with {self.serving.workers} serving.workers, each of which "
                "would keep its own requests; use 1 worker and more replicas",
            )
        if self.replicas.min == 0 and self.compute == "cpu":
            yield Problem(
                ("replicas", "min"), "requires compute: gpu; with compute: cpu use 1 or more"
            )


def _check_models(models: dict[str, ModelSpec]) -> dict[str, ModelSpec]:
    """Check that no two berths have the same name, `<model>-<version>`."""
    raise_problems(_duplicate_berth_names(models))
    return models


def _duplicate_berth_names(models: dict[str, ModelSpec]) -> Iterator[Problem]:
    owners: dict[str, tuple[str, str]] = {}
    for model, entry in models.items():
        for version in entry.versions:
            name = f"{model}-{version}".replace(".", "-")
            other, other_version = owners.setdefault(name, (model, version))
            if (other, other_version) != (model, version):
                yield Problem(
                    (model, "versions", version),
                    f"has the same berth name, {name}, as version {other_version} of {other}; "
                    "rename one of them",
                    False,
                )


Models = Annotated[
    dict[Name, ModelSpec], Field(min_length=1, max_length=1000), AfterValidator(_check_models)
]
