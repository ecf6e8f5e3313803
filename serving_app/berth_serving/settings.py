"""The settings of one berth: environment variables `BERTH_*`, read once at start."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingError(ValueError):
    """A variable that is missing or has a value that is not allowed; the message names both."""


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

        def get(name: str, default: str | None, parse: Callable[[str], T]) -> T:
            variable = f"BERTH_{name}"
            text = environment.get(variable, default)
            if text is None:
                raise SettingError(f"{variable} is not set, and has no default")
            try:
                return parse(text)
            except ValueError as error:
                raise SettingError(f"{variable}={text!r}: {error}") from None

        cores = str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        return cls(
            model_dir=get("MODEL_DIR", None, _folder),
            host=get("HOST", "127.0.0.1", str),
            port=get("PORT", "8080", _whole(1, 65535)),
            workers=get("WORKERS", "1", _whole(1, 256)),
            threads=get("THREADS", cores, _whole(1, 1024)),
            intra_op_threads=get("INTRA_OP_THREADS", "1", _whole(0, 1024)),
            inter_op_threads=get("INTER_OP_THREADS", "1", _whole(0, 1024)),
            spinning=get("SPINNING", "false", _flag),
            loop_threshold_ms=get("LOOP_THRESHOLD_MS", "0.5", _number(0, 1000)),
            max_body_bytes=get("MAX_BODY_BYTES", "10485760", _whole(1, 2**31)),
            max_batch=get("MAX_BATCH", "1024", _whole(1, 1_000_000)),
            queue=get("QUEUE", "256", _whole(0, 1_000_000)),
            deadline_seconds=get("DEADLINE_SECONDS", "30", _number(0.001, 3600)),
            grace_seconds=get("GRACE_SECONDS", "30", _number(0, 3600)),
            batch_size=get("BATCH_SIZE", "1", _whole(1, 4096)),
            log_level=get("LOG_LEVEL", "info", _one_of(_LOG_LEVELS)),
            token=get("TOKEN_FILE", "", _token),
            execution_providers=get(
                "EXECUTION_PROVIDERS", "CPUExecutionProvider", lambda t: tuple(t.split(","))
            ),
        )


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError("is not a folder")
    return path


def _token(text: str) -> bytes | None:
    """The token in the file `text`; an empty one would let everyone ask, so it is refused."""
    if not text:
        return None
    try:
        token = Path(text).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not token:
        raise ValueError("is empty; it must hold the token")
    return token


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}")
        return value

    return parse


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse
