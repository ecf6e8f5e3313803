"""The scheduler: runs a request at once, together with others, later, or not at all."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import onnxruntime

from berth_protocol.errors import RequestError, overload_error
from berth_serving.batching import QueuedRequest, can_share_run, run_batch
from berth_serving.memory import LARGE_BYTES, return_memory, shrink_arena_after
from berth_serving.model import MemoryExceededError, Model, count_elements
from berth_serving.run_memory import MemoryLimits, RunMemory
from berth_serving.tensors import Array

_LOG = logging.getLogger("berth")
# A run in the event loop was misjudged if it takes this many times the threshold. This many such
# runs in a row are not a coincidence on a busy machine.
_SLOW_FACTOR = 4
_SLOW_RUNS_IN_A_ROW = 3
_RETURN_SECONDS = 1.0
_T = TypeVar("_T")


class Scheduler:
    """Runs of one model in one event loop, with bounded threads and a bounded queue.

    If the estimated duration of a run is below `loop_seconds`, it runs in the event loop, because
    the handover to a thread would take longer than the run. A longer run would block health checks
    and other requests there, so it runs in a thread.

    While all threads are busy, queued requests with equal outputs and row shapes share a run of up
    to `batch_size` rows. No request waits for a batch to fill.

    Args:
        threads: Maximum number of runs in threads at the same time.
        queue: Maximum number of queued requests.
        batch_size: Maximum number of rows in a shared run. 1 disables batching, which is required
            unless the model predicts rows independently.
        deadline_seconds: Time limit for a request that runs in a thread, from its arrival.
        loop_seconds: Maximum estimated duration of a run in the event loop.
        seconds_per_element: Duration of a warm run per element, from which others are estimated.
        memory: Limits of the memory that runs and queued requests take. None for no limits.
        observe_run: Called with the rows and seconds of every run.
        observe_queue: Called with the number of queued requests when it changes.
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
        memory: MemoryLimits | None,
        observe_run: Callable[[int, float], None],
        observe_queue: Callable[[float], None],
    ) -> None:
        self._model = model
        self._threads = threads
        self._queue_limit = queue
        self._batch_size = batch_size
        self._deadline_seconds = deadline_seconds
        self._loop_seconds = loop_seconds
        self._loop_elements = loop_seconds / seconds_per_element
        self._memory = RunMemory(memory)
        self._return_timer: asyncio.TimerHandle | None = None
        self._slow_runs = 0
        self._observe_run = observe_run
        self._observe_queue = observe_queue
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="run")
        self._running: dict[onnxruntime.RunOptions, Sequence[QueuedRequest]] = {}
        self._responding: set[QueuedRequest] = set()
        self._sending_bytes = 0
        self._queue: deque[QueuedRequest] = deque()

    def is_short(self, feeds: dict[str, Array]) -> bool:
        """Return whether to run the request in the event loop."""
        elements = count_elements(feeds)
        if elements > self._loop_elements:
            return False
        return self._memory.estimate(self._model.count_rows(feeds), elements) < LARGE_BYTES

    def run_in_loop(self, feeds: dict[str, Array], outputs: tuple[str, ...]) -> list[Array]:
        """Return the model's outputs for one request, from a run in the event loop.

        Raises:
            RequestError: If the model cannot run these values.
        """
        started = time.perf_counter()
        try:
            return self._run_timed(feeds, outputs, self._model.count_rows(feeds), None)
        finally:
            self._check_estimate(time.perf_counter() - started)

    def _check_estimate(self, seconds: float) -> None:
        """Use threads from now on if the run time does not depend on the number of elements."""
        is_slow = seconds > _SLOW_FACTOR * self._loop_seconds
        self._slow_runs = self._slow_runs + 1 if is_slow else 0
        if self._slow_runs == _SLOW_RUNS_IN_A_ROW:
            self._loop_elements = 0
            _LOG.warning(
                "Inference is slower than estimated; using the thread pool for all requests"
            )

    async def run_in_thread(
        self,
        feeds: dict[str, Array],
        outputs: tuple[str, ...],
        respond: Callable[[list[Array]], Awaitable[_T]],
    ) -> _T:
        """Return what `respond` makes of the model's outputs, from a run in a thread.

        The memory of the run stays reserved until `respond` ends, because the outputs and the
        response need it. Without that, the next run could take it, and a request that was accepted
        and computed would fail.

        Raises:
            RequestError: 413 if the run would take too much memory; 503 if the queue is full or
                the deadline passes in the queue; 504 if the deadline passes during the run; 400 if
                the model cannot run these values.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_seconds
        rows = self._model.count_rows(feeds)
        # If inputs differ in length, one of them is not rows but a table of this request only. An
        # optional input has a value for this request only.
        is_batchable = (
            self._batch_size > 1
            and feeds.keys() == set(self._model.row_inputs)
            and all(len(array) == rows for array in feeds.values())
        )
        memory = self._memory.admit(rows, count_elements(feeds))
        is_exclusive = self._memory.is_exclusive(memory)
        request = QueuedRequest(
            feeds,
            outputs,
            rows,
            deadline,
            loop.create_future(),
            is_batchable and not is_exclusive,
            memory,
            is_exclusive,
        )
        if not self._queue and self._can_start(request):
            self._start([request])
        else:
            self._enqueue(request)
        try:
            return await respond(await self._wait_for(request))
        finally:
            self._release(request)

    async def _wait_for(self, request: QueuedRequest) -> list[Array]:
        try:
            async with asyncio.timeout_at(request.deadline):
                return await request.result
        except TimeoutError:
            if request in self._queue:
                self._queue.remove(request)
                self._observe_queue(len(self._queue))
                raise overload_error(
                    f"Timed out after {self._deadline_seconds:g} s in the queue. Retry later."
                ) from None
            raise self._run_timeout() from None

    def _enqueue(self, request: QueuedRequest) -> None:
        if len(self._queue) >= self._queue_limit:
            requests = "request" if self._queue_limit == 1 else "requests"
            raise overload_error(
                f"The queue is full ({self._queue_limit} {requests}). Retry later."
            )
        if self._queue and self._memory.queue_bytes is not None:
            held = sum(queued.held_bytes for queued in self._queue)
            if held + request.held_bytes > self._memory.queue_bytes:
                raise overload_error(
                    f"The queue is full: its requests take {held >> 20} MiB of memory. Retry later."
                )
        self._queue.append(request)
        self._observe_queue(len(self._queue))

    def _can_start(self, request: QueuedRequest) -> bool:
        """Return whether a thread and the memory of a run are free."""
        if not self._running and not self._responding:
            return True
        if len(self._running) >= self._threads:
            return False
        is_one_exclusive = request.is_exclusive or any(
            other.is_exclusive
            for batch in (*self._running.values(), self._responding)
            for other in batch
        )
        return not is_one_exclusive and self._memory.fits(request.memory)

    def _run_timeout(self) -> RequestError:
        return RequestError(
            504,
            f"Timed out after {self._deadline_seconds:g} s while the model was running."
            " Send fewer rows in each request.",
        )

    def hold_response(self, size: int) -> None:
        """Count the bytes of a response that a client takes, perhaps slowly.

        A run waits for them only while other runs are in progress: a client that takes a response
        slowly must not stop the others.
        """
        self._memory.reserve(size)
        self._sending_bytes += size

    def release_response(self, size: int) -> None:
        """Stop counting a response that its client has taken."""
        self._memory.release(size)
        self._sending_bytes -= size
        self._start_queued()

    def cancel_all(self) -> None:
        """Reject every request that is queued or runs in a thread."""
        pending = [
            *self._queue,
            *(request for batch in self._running.values() for request in batch),
        ]
        self._queue.clear()
        self._observe_queue(0)
        for request in pending:
            if not request.result.done():
                request.result.set_exception(overload_error("This berth is stopping. Retry later."))
        for options in self._running:
            options.terminate = True

    def close(self) -> bool:
        """Start no more runs. Return whether every thread has finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._running

    def _start(self, batch: Sequence[QueuedRequest]) -> None:
        """Run a batch in a free thread."""
        loop = asyncio.get_running_loop()
        options = onnxruntime.RunOptions()
        memory = sum(request.memory for request in batch)
        if not self._memory.is_limited or memory >= LARGE_BYTES:
            shrink_arena_after(options)
        self._running[options] = batch
        self._memory.reserve(memory)
        # End a run that no client waits for any longer.
        deadline = max(request.deadline for request in batch)
        timer = loop.call_at(deadline, setattr, options, "terminate", True)
        run = loop.run_in_executor(self._pool, self._run_batch, batch, options)
        run.add_done_callback(lambda done: self._finish(batch, options, timer, done))

    def _finish(
        self,
        batch: Sequence[QueuedRequest],
        options: onnxruntime.RunOptions,
        timer: asyncio.TimerHandle,
        run: "asyncio.Future[list[list[Array]]]",
    ) -> None:
        timer.cancel()
        del self._running[options]
        memory = sum(request.memory for request in batch)
        self._memory.release(memory)
        if memory >= LARGE_BYTES:
            self.return_memory_later()
        error = run.exception()
        if error is not None and options.terminate:
            # The scheduler ended the run, so the error does not mean that the values are invalid.
            error = self._run_timeout()
        is_out_of_memory = isinstance(error, MemoryExceededError)
        if is_out_of_memory and batch[0].is_exclusive:
            self._set_results(batch, run, self._reject_exclusive(batch[0]))
        elif error is not None and (len(batch) > 1 or is_out_of_memory):
            # One invalid request fails the whole batch, and a run can fail because others took the
            # memory. So retry each separately.
            for request in reversed(batch):
                if not request.result.done():
                    request.is_batchable = False
                    request.is_exclusive = is_out_of_memory
                    self._queue.appendleft(request)
        else:
            self._set_results(batch, run, error)
        self._start_queued()

    def _reject_exclusive(self, request: QueuedRequest) -> RequestError:
        """Return the error of a request that had too little memory while nothing else ran."""
        if self._sending_bytes >= LARGE_BYTES:
            return overload_error(
                f"Responses that their clients have not received yet take"
                f" {self._sending_bytes >> 20} MiB of memory. Retry later."
            )
        if self._model.uses_gpu:
            return MemoryExceededError(uses_gpu=True)  # It is not known which memory ran out.
        elements = count_elements(request.feeds)
        return self._memory.reject_exclusive(request.rows, elements, request.memory)

    def _start_queued(self) -> None:
        while self._queue and self._can_start(self._queue[0]):
            self._start(self._take_batch())
            self._observe_queue(len(self._queue))

    def _set_results(
        self,
        batch: Sequence[QueuedRequest],
        run: "asyncio.Future[list[list[Array]]]",
        error: BaseException | None,
    ) -> None:
        for index, request in enumerate(batch):
            if request.result.done():
                continue
            if error is not None:
                request.result.set_exception(error)
            else:
                request.result.set_result(run.result()[index])
                if request.memory:
                    self._memory.reserve(request.memory)
                    self._responding.add(request)

    def _release(self, request: QueuedRequest) -> None:
        """Release the memory of a request that no longer needs it."""
        if request in self._responding:
            self._responding.remove(request)
            self._memory.release(request.memory)
            self._start_queued()

    def return_memory_later(self) -> None:
        """Return freed memory to the operating system when the current requests are complete."""
        if self._return_timer is None:
            loop = asyncio.get_running_loop()
            self._return_timer = loop.call_later(_RETURN_SECONDS, self._return_memory)

    def _return_memory(self) -> None:
        self._return_timer = None
        asyncio.get_running_loop().run_in_executor(None, return_memory)

    def _take_batch(self) -> list[QueuedRequest]:
        """Remove the oldest queued request, and those behind it that can share its run."""
        first = self._queue.popleft()
        batch, rows, memory = [first], first.rows, first.memory
        while self._queue and rows + self._queue[0].rows <= self._batch_size:
            memory += self._queue[0].memory
            if not can_share_run(first, self._queue[0]) or not self._memory.fits(memory):
                break
            batch.append(self._queue.popleft())
            rows += batch[-1].rows
        return batch

    def _run_batch(
        self, batch: Sequence[QueuedRequest], options: onnxruntime.RunOptions
    ) -> list[list[Array]]:
        """Return the outputs of each request of a batch, from one run."""
        try:
            return run_batch(
                batch,
                lambda feeds, outputs, rows: self._run_timed(feeds, outputs, rows, options),
            )
        finally:
            # Also when the deadline has ended the run.
            if sum(request.memory for request in batch) >= LARGE_BYTES:
                return_memory()

    def _run_timed(
        self,
        feeds: dict[str, Array],
        outputs: tuple[str, ...],
        rows: int,
        options: onnxruntime.RunOptions | None,
    ) -> list[Array]:
        started = time.perf_counter()
        arrays = self._model.run(feeds, outputs, options)
        self._observe_run(rows, time.perf_counter() - started)
        return arrays
