"""Batching: requests that share one run of the model."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from berth_protocol.errors import RequestError
from berth_serving.processing import ProcessingError
from berth_serving.tensors import Array

_MAX_MEASURED_ROWS = 32
# The first of them loads the GPU's programs.
_MEASUREMENTS = 3


@dataclass(eq=False)
class QueuedRequest:
    """A request that runs in a thread.

    Attributes:
        deadline: Latest response time, on the event loop's clock.
        is_batchable: Whether it may share a run with other requests.
        memory: Estimated bytes that a run takes.
        is_exclusive: Whether it needs all memory. Nothing else runs, and no response is prepared,
            while it runs.
    """

    feeds: dict[str, Array]
    outputs: tuple[str, ...]
    rows: int
    deadline: float
    result: "asyncio.Future[list[Array]]"
    is_batchable: bool
    memory: int
    is_exclusive: bool

    @property
    def held_bytes(self) -> int:
        """Bytes of its inputs, which it occupies in the queue."""
        return sum(array.nbytes for array in self.feeds.values())


def can_share_run(first: QueuedRequest, second: QueuedRequest) -> bool:
    """Return whether the rows of two requests can be one run's."""
    return (
        first.is_batchable
        and second.is_batchable
        and first.outputs == second.outputs
        and all(
            array.shape[1:] == second.feeds[name].shape[1:] for name, array in first.feeds.items()
        )
    )


def run_batch(
    batch: Sequence[QueuedRequest],
    run: Callable[[dict[str, Array], tuple[str, ...], int], list[Array]],
) -> list[list[Array]]:
    """Return the outputs of each request of a batch, from one run.

    Args:
        run: Runs the model with inputs, names of outputs and a number of rows.

    Raises:
        RequestError: 400 if the rows of an output cannot be assigned to requests.
    """
    first = batch[0]
    if len(batch) == 1:
        return [run(first.feeds, first.outputs, first.rows)]
    feeds = {
        name: np.concatenate([request.feeds[name] for request in batch]) for name in first.feeds
    }
    rows = sum(request.rows for request in batch)
    arrays = run(feeds, first.outputs, rows)
    if any(array.shape[0] != rows for array in arrays):
        # The scheduler runs each separately instead.
        raise RequestError(400, "The model does not return one row per input row.")
    ends = np.cumsum([request.rows for request in batch])[:-1]
    parts = [np.split(array, ends) for array in arrays]
    return [[part[index] for part in parts] for index in range(len(batch))]


def explain_slow_batches(
    run: Callable[[Mapping[str, Array]], object], row: Mapping[str, Array], batch_size: int
) -> str:
    """Return why runs of several rows fail or take longer than a run for each row, or "".

    On a GPU, a convolution is prepared again whenever the number of rows changes, and with batching
    it changes all the time: 60 ms for ResNet-18 on an H200, where a run of one row takes 1 ms.

    Args:
        run: Runs the model.
        row: Inputs of one row.
    """
    rows = min(batch_size, _MAX_MEASURED_ROWS)
    batch = {name: np.concatenate([array] * rows) for name, array in row.items()}
    single_seconds, batch_seconds = [], []
    try:
        for _ in range(_MEASUREMENTS):
            run(row)
            single_seconds.append(_time(run, row))
            batch_seconds.append(_time(run, batch))
    except (RequestError, ProcessingError) as error:
        return f"the model cannot run {rows} rows: {error}"
    single, together = rows * min(single_seconds), min(batch_seconds)
    if together <= single:
        return ""
    return (
        f"a run of {rows} rows after a run of another number takes {together * 1000:.1f} ms, and"
        f" {rows} runs of one row take {single * 1000:.1f} ms"
    )


def _time(run: Callable[[Mapping[str, Array]], object], feeds: Mapping[str, Array]) -> float:
    started = time.perf_counter()
    run(feeds)
    return time.perf_counter() - started
