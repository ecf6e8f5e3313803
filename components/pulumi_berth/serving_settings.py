"""Settings of the serving program as arguments of components."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import pulumi


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """Limits and session options of the serving program in each berth."""

    workers: int | None = None
    """Worker processes. Each loads the whole model into memory. Defaults to 1."""
    threads: int | None = None
    """Requests that each worker runs at the same time. Defaults to the CPU cores that the berth may
    use, divided by `workers`."""
    intra_op_threads: int | None = None
    """Threads that run one request. Defaults to 1."""
    max_batch: int | None = None
    """Maximum number of rows in a request. Defaults to 1024."""
    queue: int | None = None
    """Maximum number of queued requests in each worker. Defaults to 256."""
    deadline_seconds: float | None = None
    """Time limit from a request's arrival to its response, in seconds. Defaults to 30."""
    batch_size: int | None = None
    """Maximum number of rows of queued requests that run as one batch. Defaults to 1, which turns
    batching off."""
    max_body_bytes: int | None = None
    """Maximum size of a request body, in bytes. Defaults to 10 MiB."""
    body_memory_bytes: int | None = None
    """Memory of each worker for all request bodies together, in bytes. Defaults to a quarter of the
    container's memory, at most 1 GiB, divided by `workers`."""
    grace_seconds: float | None = None
    """Time limit for in-flight requests to finish at shutdown, in seconds. Defaults to 30."""
    data_drift: bool | None = None
    """If true, each worker compares the rows of requests with the training statistics of versions
    that have them. Defaults to true."""
    data_drift_seconds: int | None = None
    """Shortest window of requests that are compared together, in seconds. Defaults to 900."""
    data_drift_rows: int | None = None
    """Smallest number of rows of such a window. Defaults to 1000."""

    capture_percent: float | None = None
    """Percentage of the requests that each berth keeps in memory. Defaults to 0. More than 0 needs
    one worker."""
    capture_redact: Sequence[str] | None = None
    """Inputs and outputs whose values are not captured. Defaults to none."""
    capture_max_bytes: int | None = None
    """Bytes of captured requests in each berth, beyond which the oldest are deleted. Defaults to 4
    MiB."""
    capture_keep_seconds: int | None = None
    """Time after which a captured request is deleted, in seconds. Defaults to 3600."""

    def with_defaults(self) -> dict[str, float]:
        """Return the value of each field, except of those whose default the berth finds out."""
        own = {name: value for name, value in asdict(self).items() if value is not None}
        own.pop("capture_redact", None)
        return _DEFAULTS | own

    def limit_body(self, max_body_bytes: int) -> "ServingSettings":
        """Return the settings with a body size that is not above another limit, in bytes."""
        own = int(self.with_defaults()["max_body_bytes"])
        return replace(self, max_body_bytes=min(own, max_body_bytes))

    @staticmethod
    def memory_environment(memory: pulumi.Input[str] | None) -> pulumi.Output[dict[str, str]]:
        """Return the variable with the memory that a berth may use, for a Kubernetes quantity.

        A container learns it from its control group. A process without a container gets it here, so
        that it refuses the same requests.
        """
        return pulumi.Output.from_input("512Mi" if memory is None else memory).apply(
            lambda text: {"BERTH_MEMORY_BYTES": str(parse_quantity(text))}
        )

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the serving program, `BERTH_<FIELD>`."""
        redacted = [] if self.capture_redact is None else [*self.capture_redact]
        environment = {
            f"BERTH_{name.upper()}": f"{value:g}"
            if isinstance(value, float)
            else str(value).lower()
            for name, value in self.with_defaults().items()
        }
        if redacted:
            environment["BERTH_CAPTURE_REDACT"] = json.dumps(redacted)
        return environment


_UNITS = {
    **{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40},
    **{"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
}


def parse_quantity(text: str) -> int:
    """Return the bytes of a Kubernetes quantity of memory, such as `512Mi`."""
    digits = text.rstrip("kKMGTi")
    return int(float(digits) * _UNITS.get(text[len(digits) :], 1))


_DEFAULTS: dict[str, float] = {
    "workers": 1,
    "intra_op_threads": 1,
    "max_batch": 1024,
    "queue": 256,
    "deadline_seconds": 30.0,
    "batch_size": 1,
    "max_body_bytes": 10 * 1024 * 1024,
    "grace_seconds": 30.0,
    "data_drift": True,
    "data_drift_seconds": 900,
    "data_drift_rows": 1000,
}
