"""The settings of one berth: environment variables `BERTH_*`, read once at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from berth_protocol.environment import (
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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one serving process is told.

    Attributes:
        model_dir: the folder of the one model version that is served.
        host, port: where to listen.
        workers: processes, each with a listening socket of its own.
        threads: sessions that run at once, in each worker.
        intra_op_threads, inter_op_threads: onnxruntime's threads inside one run, 0 as many as
            cores. One, since concurrent requests fill the cores better than one request does.
        spinning: whether onnxruntime's threads wait actively: quicker alone, ruinous in company.
        loop_threshold_ms: runs below this many milliseconds happen in the event loop, where a
            handover to a thread would cost more than the run.
        max_body_bytes, max_batch, queue: limits of one request's body and rows, and of the
            requests that wait.
        deadline_seconds: a request that is not answered by then is refused.
        grace_seconds: how long requests may take to finish after SIGTERM.
        batch_size: rows that are run together while all threads are busy; 1 is off.
        token: what `infer` wants as `x-berth-token`; None lets everyone ask.
        execution_providers: onnxruntime's, first choice first.
    """

    model_dir: Path
    host: str
    port: int
    workers: int
    threads: int
    intra_op_threads: int
    inter_op_threads: int
    spinning: bool
    loop_threshold_ms: float
    max_body_bytes: int
    max_batch: int
    queue: int
    deadline_seconds: float
    grace_seconds: float
    batch_size: int
    log_level: str
    token: bytes | None = field(repr=False)
    execution_providers: tuple[str, ...]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings in `environment`.

        Raises:
            SettingError: for the first variable that is wrong.
        """

        get = EnvironmentReader(environment, "BERTH_").read
        cores = str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        return cls(
            model_dir=get("MODEL_DIR", None, directory),
            host=get("HOST", "127.0.0.1", str),
            port=get("PORT", "8080", PORT),
            workers=get("WORKERS", "1", whole_number(1, 256)),
            threads=get("THREADS", cores, whole_number(1, 1024)),
            intra_op_threads=get("INTRA_OP_THREADS", "1", whole_number(0, 1024)),
            inter_op_threads=get("INTER_OP_THREADS", "1", whole_number(0, 1024)),
            spinning=get("SPINNING", "false", flag),
            loop_threshold_ms=get("LOOP_THRESHOLD_MS", "0.5", number(0, 1000)),
            max_body_bytes=get("MAX_BODY_BYTES", "10485760", whole_number(1, 2**31)),
            max_batch=get("MAX_BATCH", "1024", whole_number(1, 1_000_000)),
            queue=get("QUEUE", "256", whole_number(0, 1_000_000)),
            deadline_seconds=get("DEADLINE_SECONDS", "30", number(0.001, 3600)),
            grace_seconds=get("GRACE_SECONDS", "30", number(0, 3600)),
            batch_size=get("BATCH_SIZE", "1", whole_number(1, 4096)),
            log_level=get("LOG_LEVEL", "info", one_of(LOG_LEVELS)),
            token=get("TOKEN_FILE", "", token_file),
            execution_providers=get(
                "EXECUTION_PROVIDERS", "CPUExecutionProvider", lambda t: tuple(t.split(","))
            ),
        )
