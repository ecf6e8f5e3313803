"""When a request is run: at once, together with others, later, or not at all."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnxruntime

from berth_protocol.errors import RequestError, overload_error
from berth_serving.model import Model, elements_of, rows_of
from berth_serving.tensors import Array

_LOG = logging.getLogger("berth")
# A run in the event loop that takes so many times the threshold was misjudged; so many in a row
# are no coincidence of a busy machine.
_LONG = 4
_LONG_IN_A_ROW = 3


@dataclass(eq=False)
class _Waiting:
    feeds: dict[str, Array]
    outputs: tuple[str, ...]
    rows: int
    until: float  # in the loop's time
    answer: "asyncio.Future[list[Array]]"
    alone: bool  # not to be joined with others


class Schedule:
    """Runs of one model in one event loop: `threads` at once, `queue` waiting, no more.

    A request whose run is estimated below `loop_seconds` is run in the event loop: for a model of
    microseconds the handover to a thread costs more than the run. Anything longer would keep
    health checks and other requests waiting there, and goes to a thread.

    While all threads are busy, waiting requests of one form are joined, up to `batch_size` rows:
    nobody ever waits for a batch to fill.

    Args:
        seconds_per_element: of a warm run, to estimate others with.
        observe_run: told of each run's rows and seconds.
        observe_queue: told how many requests wait for a thread, whenever that changes.
    """

    def __init__(
        self,
        model: Model,
        *,
        threads: int,
        queue: int,
        batch_size: int,
        deadline_seconds: float,
        loop_seconds: float,
        seconds_per_element: float,
        observe_run: Callable[[int, float], None],
        observe_queue: Callable[[float], None],
    ) -> None:
        self._model = model
        self._threads = threads
        self._queue = queue
        self._batch_size = batch_size if model.batched else 1
        self._deadline = deadline_seconds
        self._loop_seconds = loop_seconds
        self._loop_elements = loop_seconds / seconds_per_element
        self._misjudged = 0
        self._observe_run = observe_run
        self._observe_queue = observe_queue
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="run")
        self._runs: dict[onnxruntime.RunOptions, Sequence[_Waiting]] = {}
        self._waiting: deque[_Waiting] = deque()

    def is_short(self, feeds: dict[str, Array]) -> bool:
        """Whether the request is better run at once, in the event loop, by `run_now`."""
        return elements_of(feeds) <= self._loop_elements

    def run_now(self, feeds: dict[str, Array], outputs: tuple[str, ...]) -> list[Array]:
        """The model's outputs for one request.

        Raises:
            RequestError: what the model itself refuses.
        """
        started = time.perf_counter()
        try:
            return self._timed(feeds, outputs, rows_of(feeds), None)
        finally:
            self._judge(time.perf_counter() - started)

    def _judge(self, seconds: float) -> None:
        """A model whose time follows the values and not their number leaves the event loop."""
        self._misjudged = self._misjudged + 1 if seconds > _LONG * self._loop_seconds else 0
        if self._misjudged == _LONG_IN_A_ROW:
            self._loop_elements = 0
            _LOG.warning("runs take longer than estimated: from now on all go to threads")

    async def run(self, feeds: dict[str, Array], outputs: tuple[str, ...]) -> list[Array]:
        """The model's outputs for one request, from a thread.

        Raises:
            RequestError: 503 when the queue is full or the deadline passed while waiting; 504
                when it passed in the run; what the model itself refuses.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        rows = rows_of(feeds)
        # Inputs of different lengths are not all rows: a table among them is nobody else's.
        alone = self._batch_size == 1 or any(len(array) != rows for array in feeds.values())
        item = _Waiting(feeds, outputs, rows, until, loop.create_future(), alone)
        if len(self._runs) < self._threads:
            self._start([item])
        elif len(self._waiting) < self._queue:
            self._waiting.append(item)
            self._observe_queue(len(self._waiting))
        else:
            raise overload_error(f"{self._queue} requests are waiting already")
        try:
            async with asyncio.timeout_at(until):
                return await item.answer
        except TimeoutError:
            message = f"not answered within {self._deadline:g} s"
            if item in self._waiting:
                self._waiting.remove(item)
                self._observe_queue(len(self._waiting))
                raise overload_error(f"{message}: all threads were busy") from None
            raise self._too_long() from None

    def _too_long(self) -> RequestError:
        return RequestError(
            504, f"not answered within {self._deadline:g} s: the model takes longer"
        )

    def give_up(self) -> None:
        """Refuse whatever waits or runs on a thread: nothing is answered with a prediction now."""
        unanswered = [*self._waiting, *(item for items in self._runs.values() for item in items)]
        self._waiting.clear()
        self._observe_queue(0)
        for item in unanswered:
            if not item.answer.done():
                item.answer.set_exception(overload_error("this berth is stopping"))
        for stop in self._runs:
            stop.terminate = True

    def close(self) -> bool:
        """Start nothing more; whether every thread has come to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._runs

    def _start(self, items: Sequence[_Waiting]) -> None:
        """Run `items`, which are of one form, together on a free thread."""
        loop = asyncio.get_running_loop()
        stop = onnxruntime.RunOptions()
        self._runs[stop] = items
        # A run that nobody waits for any more is ended.
        until = max(item.until for item in items)
        limit = loop.call_at(until, setattr, stop, "terminate", True)
        run = loop.run_in_executor(self._pool, self._joined, items, stop)
        run.add_done_callback(lambda done: self._finish(items, stop, limit, done))

    def _finish(
        self,
        items: Sequence[_Waiting],
        stop: onnxruntime.RunOptions,
        limit: asyncio.TimerHandle,
        done: "asyncio.Future[list[list[Array]]]",
    ) -> None:
        limit.cancel()
        del self._runs[stop]
        error = done.exception()
        if error is not None and stop.terminate:
            # It was ended here; its values may be sound, whatever the runtime says.
            error = self._too_long()
        if error is not None and len(items) > 1:
            # One request's values spoil the run of all: each is run again on its own.
            for item in reversed(items):
                if not item.answer.done():
                    item.alone = True
                    self._waiting.appendleft(item)
        else:
            for at, item in enumerate(items):
                if item.answer.done():
                    continue
                if error is not None:
                    item.answer.set_exception(error)
                else:
                    item.answer.set_result(done.result()[at])
        while self._waiting and len(self._runs) < self._threads:
            self._start(self._next())
            self._observe_queue(len(self._waiting))

    def _next(self) -> list[_Waiting]:
        """The longest waiting request, and those behind it that can be run with it."""
        first = self._waiting.popleft()
        items, rows = [first], first.rows
        while self._waiting and rows + self._waiting[0].rows <= self._batch_size:
            if not _one_form(first, self._waiting[0]):
                break
            items.append(self._waiting.popleft())
            rows += items[-1].rows
        return items

    def _joined(self, items: Sequence[_Waiting], stop: onnxruntime.RunOptions) -> list[list[Array]]:
        """The outputs of each item, from one run."""
        outputs = items[0].outputs
        if len(items) == 1:
            return [self._timed(items[0].feeds, outputs, items[0].rows, stop)]
        feeds = {name: np.concatenate([i.feeds[name] for i in items]) for name in items[0].feeds}
        rows = sum(item.rows for item in items)
        arrays = self._timed(feeds, outputs, rows, stop)
        if any(array.shape[0] != rows for array in arrays):
            # Whose rows these are cannot be told; each is run on its own instead.
            raise RequestError(400, "the model does not give a row for each row")
        ends = np.cumsum([item.rows for item in items])[:-1]
        parts = [np.split(array, ends) for array in arrays]
        return [[part[at] for part in parts] for at in range(len(items))]

    def _timed(
        self,
        feeds: dict[str, Array],
        outputs: tuple[str, ...],
        rows: int,
        stop: onnxruntime.RunOptions | None,
    ) -> list[Array]:
        started = time.perf_counter()
        arrays = self._model.run(feeds, outputs, stop)
        self._observe_run(rows, time.perf_counter() - started)
        return arrays


def _one_form(one: _Waiting, other: _Waiting) -> bool:
    return (
        not (one.alone or other.alone)
        and one.outputs == other.outputs
        and all(array.shape[1:] == other.feeds[name].shape[1:] for name, array in one.feeds.items())
    )
