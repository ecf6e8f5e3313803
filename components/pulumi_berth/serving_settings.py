"""How one berth serves: the serving app's settings as a component's arguments."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """Limits and session options of one berth, see docs/reference/environment-variables.md.

    Every field becomes the environment variable `BERTH_<FIELD>` of the serving app. Times are
    in seconds, sizes in bytes, batches in rows, the queue in requests.
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
        """The settings as the serving app reads them."""
        return {
            f"BERTH_{key.upper()}": f"{value:g}" if isinstance(value, float) else str(value)
            for key, value in asdict(self).items()
        }
