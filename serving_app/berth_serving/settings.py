"""The settings of a berth: environment variables `BERTH_*`, read once at startup."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from berth_protocol.body_memory import default_body_memory
from berth_protocol.cgroup import count_cpus, read_memory_limit
from berth_protocol.environment import (
    BODY_MEMORY,
    LOG_LEVELS,
    PORT,
    EnvironmentReader,
    directory,
    flag,
    number,
    one_of,
    token_file,
    whole_number,
)

BODY_MEMORY_SHARE = 4
"""Request bodies may take one part in this many of the memory."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one serving process.

    Attributes:
        model_dir: Directory of the model version to serve.
        host: Address to listen on.
        port: TCP port to listen on.
        metrics_port: TCP port on `host` that serves only metrics, so that a scraper does not need
            access to `port`. None serves metrics on `port`.
        workers: Number of processes. Each has its own listening socket.
        threads: Maximum number of concurrent runs in each worker. Defaults to the CPU cores that
            the process may use, divided by the workers: more threads than the quota of a container
            are throttled together.
        intra_op_threads: ONNX Runtime's threads within one operator; 0 for one per core. Defaults
            to 1, because concurrent requests use the cores better than one request does.
        inter_op_threads: ONNX Runtime's threads across operators; 0 for one per core.
        spinning: Let ONNX Runtime's threads wait actively. Faster for a single berth on a machine,
            much slower for several.
        loop_threshold_ms: A run that is estimated to be shorter, in milliseconds, runs in the
            event loop, where the handover to a thread would take longer than the run.
        max_body_bytes: Maximum length of a request body.
        body_memory_bytes: Memory of each worker for all request bodies together, in bytes.
        max_batch: Maximum number of rows in a request.
        memory_bytes: Memory that all workers may use together. None for no limit.
        queue: Maximum number of queued requests.
        deadline_seconds: Time limit for a request.
        grace_seconds: Time limit for requests in flight after SIGTERM.
        accept_seconds: Time after SIGTERM in which connections are accepted even if none arrive.
        connection_requests: Requests after which a connection is closed. None keeps it.
        batch_size: Maximum number of rows that run together while all threads are busy. 1 disables
            batching.
        data_drift: Whether to compare requests with the training statistics of the version.
        data_drift_seconds: Shortest window of requests that are compared together.
        data_drift_rows: Smallest number of rows of such a window.
        capture_percent: Percentage of the requests that are captured in memory.
        capture_redact: Inputs and outputs whose values are not captured.
        capture_max_bytes: Bytes of captured requests, beyond which the oldest are deleted.
        capture_keep_seconds: Time after which a captured request is deleted.
        log_level: `debug`, `info`, `warning` or `error`. At `info`, every request is logged.
        token: Token that inference requests must have. None lets every caller in.
        execution_providers: ONNX Runtime's execution providers, in order of preference.
    """

    model_dir: Path
    host: str
    port: int
    metrics_port: int | None
    workers: int
    threads: int
    intra_op_threads: int
    inter_op_threads: int
    spinning: bool
    loop_threshold_ms: float
    max_body_bytes: int
    body_memory_bytes: int
    max_batch: int
    memory_bytes: int | None
    queue: int
    deadline_seconds: float
    grace_seconds: float
    accept_seconds: float
    connection_requests: int | None
    batch_size: int
    data_drift: bool
    data_drift_seconds: float
    data_drift_rows: int
    capture_percent: float
    capture_redact: tuple[str, ...]
    capture_max_bytes: int
    capture_keep_seconds: int
    log_level: str
    token: bytes | None = field(repr=False)
    execution_providers: tuple[str, ...]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings from `environment`.

        Raises:
            SettingError: For the first variable that is missing or invalid.
        """
        get = EnvironmentReader(environment, "BERTH_").read
        workers = get("WORKERS", "1", whole_number(1, 256))
        memory_bytes = get("MEMORY_BYTES", "0", whole_number(0, 2**50)) or read_memory_limit()
        body_memory = default_body_memory()
        if memory_bytes is not None:
            body_memory = min(body_memory, memory_bytes // BODY_MEMORY_SHARE)
        return cls(
            model_dir=get("MODEL_DIR", None, directory),
            host=get("HOST", "127.0.0.1", str),
            port=get("PORT", "8080", PORT),
            metrics_port=get("METRICS_PORT", "", lambda text: PORT(text) if text else None),
            workers=workers,
            threads=get("THREADS", str(math.ceil(count_cpus() / workers)), whole_number(1, 1024)),
            intra_op_threads=get("INTRA_OP_THREADS", "1", whole_number(0, 1024)),
            inter_op_threads=get("INTER_OP_THREADS", "1", whole_number(0, 1024)),
            spinning=get("SPINNING", "false", flag),
            loop_threshold_ms=get("LOOP_THRESHOLD_MS", "0.5", number(0, 1000)),
            max_body_bytes=get("MAX_BODY_BYTES", "10485760", whole_number(1, 2**31)),
            body_memory_bytes=get(
                "BODY_MEMORY_BYTES", str(max(1, body_memory // workers)), BODY_MEMORY
            ),
            max_batch=get("MAX_BATCH", "1024", whole_number(1, 1_000_000)),
            memory_bytes=memory_bytes,
            queue=get("QUEUE", "256", whole_number(0, 1_000_000)),
            deadline_seconds=get("DEADLINE_SECONDS", "30", number(0.001, 3600)),
            grace_seconds=get("GRACE_SECONDS", "30", number(0, 3600)),
            accept_seconds=get("ACCEPT_SECONDS", "0", number(0, 5)),
            connection_requests=get("CONNECTION_REQUESTS", "0", whole_number(0, 10**9)) or None,
            batch_size=get("BATCH_SIZE", "1", whole_number(1, 4096)),
            data_drift=get("DATA_DRIFT", "true", flag),
            data_drift_seconds=get("DATA_DRIFT_SECONDS", "900", number(1, 86_400)),
            data_drift_rows=get("DATA_DRIFT_ROWS", "1000", whole_number(100, 10**9)),
            capture_percent=get("CAPTURE_PERCENT", "0", number(0, 100)),
            capture_redact=get("CAPTURE_REDACT", "[]", _parse_names),
            capture_max_bytes=get("CAPTURE_MAX_BYTES", "4194304", whole_number(1024, 2**24)),
            capture_keep_seconds=get("CAPTURE_KEEP_SECONDS", "3600", whole_number(1, 604_800)),
            log_level=get("LOG_LEVEL", "info", one_of(LOG_LEVELS)),
            token=get("TOKEN_FILE", "", token_file),
            execution_providers=get(
                "EXECUTION_PROVIDERS", "CPUExecutionProvider", lambda t: tuple(t.split(","))
            ),
        )


def _parse_names(text: str) -> tuple[str, ...]:
    """Parse a JSON list of names, which can contain any character."""
    try:
        return tuple(msgspec.json.decode(text.encode(), type=list[str]))
    except msgspec.DecodeError:
        raise ValueError('must be a JSON list of names, such as ["age"]') from None
