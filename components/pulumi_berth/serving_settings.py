"""Settings of the serving program as arguments of components."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """Limits and session options of one berth: see docs/reference/environment-variables.md.

    Each field becomes the environment variable `BERTH_<FIELD>` of the serving program. Times are in
    seconds, sizes in bytes, batches in rows, the queue in requests.
    """

    workers: int
    threads: int
    intra_op_threads: int
    max_batch: int
    queue: int
    deadline_seconds: float
    batch_size: int
    max_body_bytes: int
    grace_seconds: float

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the serving program."""
        return {
            f"BERTH_{key.upper()}": f"{value:g}" if isinstance(value, float) else str(value)
            for key, value in asdict(self).items()
        }
