"""Models: which versions are deployed, which are exposed, and which get what traffic."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from berth.spec.errors import Problem, refusal, refuse
from berth.spec.quantity import CpuQuantity, MemoryQuantity
from berth.spec.section import Section
from berth.spec.text import Digest, Name, ProjectPath, Version, VersionName


class VersionSpec(Section):
    """One deployed version of a model."""

    path: ProjectPath | None = None
    """Folder of the packaged version, relative to the project; `models/<model>/<version>` when
    omitted."""
    digest: Digest | None = None
    """Pins the version: the sha256 of its `model.yaml`, which names the sha256 of every file."""
    exposed: bool | None = None
    """Whether clients can reach the version by name; when omitted, exactly while it has traffic."""
    image: Digest | None = None
    """The serving image to run, by digest, instead of one that is built; `berth promote` writes
    it. Not for the local platform."""
    standby: Literal["warm", "cold"] = "warm"
    """What runs while the version has no traffic: warm is `replicas.min` copies, cold none. The
    local platform keeps every version warm."""


class ReplicaSpec(Section):
    """How many copies of each berth run. The local platform runs one process per berth, whatever
    the numbers say, with `serving.workers` in it."""

    min: int = Field(default=1, ge=0, le=1000)
    """Copies at rest; 0 lets an idle gpu berth release its node."""
    max: int = Field(default=1, ge=1, le=1000)
    """Copies under the highest load; not below `min`."""
    target_cpu_percent: int = Field(default=70, ge=10, le=100)
    """Processor use, in percent of `resources.cpu`, that the autoscaler holds."""
    target_in_flight: int | None = Field(default=None, ge=1, le=10_000)
    """Requests in work and waiting, per copy, that the autoscaler holds besides, where the cluster
    has that metric; not considered when omitted."""

    @model_validator(mode="after")
    def _in_order(self) -> "ReplicaSpec":
        if self.min > self.max:
            raise refusal(Problem(("min",), f"is above max, {self.max}; min must not be above max"))
        return self


class ResourceSpec(Section):
    """What one copy of a berth may use: requested and limited. Not enforced on the local
    platform."""

    cpu: CpuQuantity = "1"
    """Processor."""
    memory: MemoryQuantity = "512Mi"
    """Memory."""
    gpu: int = Field(default=0, ge=0, le=16)
    """Graphics processors; with `compute: gpu` 1 unless given, with `compute: cpu` 0."""


class ServingSpec(Section):
    """Limits and session options of the serving program in one copy of a berth."""

    workers: int = Field(default=1, ge=1, le=64)
    """Processes, each with the whole model in memory."""
    threads: int = Field(default=4, ge=1, le=256)
    """Requests that are computed at the same time, in each worker."""
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads that work on one request."""
    max_batch: int = Field(default=1024, ge=1, le=1_000_000)
    """Rows in one request; more are refused with 413."""
    queue: int = Field(default=256, ge=0, le=100_000)
    """Requests that may wait, in each worker; more are refused with 503 at once."""
    deadline_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Seconds from a request's arrival to its answer; later it is given up with 504."""
    batch_size: int = Field(default=1, ge=1, le=4096)
    """Rows of waiting requests that are computed together while the berth is busy; 1 is off."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1024**3)
    """Bytes in one request's body; more are refused with 413."""
    grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Seconds that running requests get to finish when the berth stops."""

    @model_validator(mode="after")
    def _batch_fits(self) -> "ServingSpec":
        if self.batch_size > self.max_batch:
            raise refusal(
                Problem(
                    ("batch_size",),
                    f"is above max_batch, {self.max_batch}; it must not be",
                )
            )
        return self


class ModelSpec(Section):
    """One model: its deployed versions and how requests are shared among them."""

    versions: dict[VersionName, VersionSpec] = Field(min_length=1, max_length=50)
    """The deployed versions, each in a berth of its own; `{}` is one with defaults."""
    traffic: dict[VersionName, Annotated[int, Field(ge=0, le=100)]] = Field(
        default={}, max_length=50, validate_default=True
    )
    """Percent of the requests that name no version, per version; the sum is 100. May be omitted
    for a model with one version, which then gets all."""
    shadow: Version | None = None
    """A version without traffic that receives copies of requests; its answers are discarded."""
    compute: Literal["cpu", "gpu"] = "cpu"
    """The class of machine that the berths need."""
    replicas: ReplicaSpec = ReplicaSpec()
    """How many copies of each berth run."""
    resources: ResourceSpec = Field(default=ResourceSpec(), validate_default=True)
    """What one copy may use."""
    serving: ServingSpec = ServingSpec()
    """Limits and session options of one copy."""

    @property
    def exposed_versions(self) -> list[str]:
        """The versions that clients can reach by name."""
        return [
            version
            for version, entry in self.versions.items()
            if (self.traffic.get(version, 0) > 0 if entry.exposed is None else entry.exposed)
        ]

    @field_validator("traffic", mode="after")
    @classmethod
    def _all_to_the_only_one(cls, traffic: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        versions = info.data.get("versions", {})
        return dict.fromkeys(versions, 100) if not traffic and len(versions) == 1 else traffic

    @field_validator("resources", mode="after")
    @classmethod
    def _one_gpu(cls, resources: ResourceSpec, info: ValidationInfo) -> ResourceSpec:
        if info.data.get("compute") == "gpu" and "gpu" not in resources.model_fields_set:
            return resources.model_copy(update={"gpu": 1})
        return resources

    @model_validator(mode="after")
    def _check(self) -> "ModelSpec":
        refuse(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        have = f"the versions are {', '.join(self.versions)}"
        for version in self.traffic:
            if version not in self.versions:
                yield Problem(("traffic", version), f"is for a version that is not there; {have}")
        total = sum(self.traffic.values())
        if not self.traffic:
            yield Problem(
                ("traffic",), f"is missing; give percents that add up to 100: {have}", False
            )
        elif total != 100:
            yield Problem(("traffic",), f"adds up to {total}; percents must add up to 100")
        if self.shadow is not None and self.shadow not in self.versions:
            yield Problem(("shadow",), f"is not a version of this model; {have}")
        elif self.shadow is not None and self.traffic.get(self.shadow, 0) > 0:
            yield Problem(
                ("shadow",),
                f"has {self.traffic[self.shadow]} % of the traffic; a shadow must have none",
            )
        for version, entry in self.versions.items():
            if entry.exposed is False and self.traffic.get(version, 0) > 0:
                yield Problem(
                    ("versions", version, "exposed"),
                    f"but the version has {self.traffic[version]} % of the traffic; "
                    "expose it, or give its traffic to another version",
                )
            in_use = version in self.exposed_versions or version == self.shadow
            if entry.standby == "cold" and in_use:
                yield Problem(
                    ("versions", version, "standby"),
                    "is for a version that nothing reaches; this one is exposed or the shadow",
                )
        if (self.compute == "gpu") != (self.resources.gpu > 0):
            yield Problem(
                ("resources", "gpu"),
                f"does not go with compute: {self.compute}; "
                + ("1 or more" if self.compute == "gpu" else "0, or compute: gpu"),
            )
        if self.replicas.min == 0 and self.compute == "cpu":
            yield Problem(
                ("replicas", "min"), "is for compute: gpu only; with compute: cpu 1 or more"
            )


def _check_models(models: dict[str, ModelSpec]) -> dict[str, ModelSpec]:
    """Berths are named `<model>-<version>`: two must not get the same name."""
    refuse(_same_names(models))
    return models


def _same_names(models: dict[str, ModelSpec]) -> Iterator[Problem]:
    first: dict[str, tuple[str, str]] = {}
    for model, entry in models.items():
        for version in entry.versions:
            name = f"{model}-{version}".replace(".", "-")
            other, other_version = first.setdefault(name, (model, version))
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
