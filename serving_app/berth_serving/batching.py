"""Batching: requests that share one run of the model."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from berth_protocol.errors import RequestError
from berth_serving.tensors import Array


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
