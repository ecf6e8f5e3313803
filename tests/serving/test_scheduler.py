"""The scheduler's estimate of run times, on a clock that the test controls."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest

from berth_protocol.errors import RequestError
from berth_serving.model import MemoryExceededError, Model
from berth_serving.run_memory import MemoryLimits
from berth_serving.scheduler import Scheduler
from berth_serving.tensors import Array


class _FakeModel:
    """A model whose runs take `seconds` on the fake clock."""

    row_inputs = ("x",)
    uses_gpu = False

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = 0.0
        self.error: Exception | None = None

    def count_rows(self, feeds: Mapping[str, Array]) -> int:
        return len(feeds["x"])

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], _options: Any = None
    ) -> list[Array]:
        self.now += self.seconds
        if self.error is not None:
            raise self.error
        return [feeds["x"] for _ in outputs]

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> _FakeModel:
    model = _FakeModel()
    monkeypatch.setattr("berth_serving.scheduler.time.perf_counter", model.perf_counter)
    return model


@pytest.fixture
def scheduler(model: _FakeModel) -> Iterator[Scheduler]:
    scheduler = Scheduler(
        cast("Model", model),
        threads=1,
        queue=1,
        batch_size=1,
        deadline_seconds=600,
        loop_seconds=0.001,
        seconds_per_element=0.0001,
        memory=None,
        observe_run=lambda _rows, _seconds: None,
        observe_queue=lambda _count: None,
    )
    yield scheduler
    scheduler.close()


_SHORT = {"x": np.zeros(10, np.float32)}
_LONG = {"x": np.zeros(11, np.float32)}


def test_request_within_estimate_runs_in_loop(scheduler: Scheduler) -> None:
    assert scheduler.is_short(_SHORT)
    assert not scheduler.is_short(_LONG)


def test_model_slower_than_estimated_leaves_loop(
    scheduler: Scheduler, model: _FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    model.seconds = 0.0041
    for _ in range(2):
        scheduler.run_in_loop(_SHORT, ("y",))
    assert scheduler.is_short(_SHORT)
    scheduler.run_in_loop(_SHORT, ("y",))
    assert not scheduler.is_short(_SHORT)
    assert "using the thread pool for all requests" in caplog.text


def test_single_slow_runs_stay_in_loop(scheduler: Scheduler, model: _FakeModel) -> None:
    for seconds in (0.0041, 0.0041, 0.0039) * 3:
        model.seconds = seconds
        scheduler.run_in_loop(_SHORT, ("y",))
    assert scheduler.is_short(_SHORT)


async def _count(arrays: list[Array]) -> int:
    return len(arrays)


async def test_request_in_thread_returns_outputs(scheduler: Scheduler) -> None:
    run = scheduler.run_in_thread(_LONG, ("y", "z"), _count)
    assert await asyncio.wait_for(run, timeout=60) == 2


class _LimitedRuns:
    """Runs that take a MiB per row, of 10 MiB. Their responses end when the test says so."""

    def __init__(self, model: _FakeModel) -> None:
        self.queued = 0.0
        self.started = asyncio.Queue[int]()
        self.may_end = asyncio.Semaphore(0)
        model.seconds = 1.0
        self.scheduler = Scheduler(
            cast("Model", model),
            threads=4,
            queue=8,
            batch_size=1,
            deadline_seconds=600,
            loop_seconds=0,
            seconds_per_element=1,
            memory=MemoryLimits(10 << 20, 1 << 20, lambda rows, _elements: rows << 20),
            observe_run=lambda _rows, _seconds: None,
            observe_queue=self._observe_queue,
        )

    def _observe_queue(self, count: float) -> None:
        self.queued = count

    async def _respond(self, arrays: list[Array]) -> int:
        rows = len(arrays[0])
        self.started.put_nowait(rows)
        await self.may_end.acquire()
        return rows

    def start(self, rows: int) -> "asyncio.Task[int]":
        feeds = {"x": np.zeros(rows, np.float32)}
        return asyncio.create_task(self.scheduler.run_in_thread(feeds, ("y",), self._respond))


@pytest.fixture
def limited(model: _FakeModel) -> Iterator[_LimitedRuns]:
    limited = _LimitedRuns(model)
    yield limited
    limited.scheduler.close()


@pytest.mark.parametrize(("first", "second"), [(8, 3), (8, 12), (12, 1), (12, 12)])
async def test_run_waits_for_response_that_needs_its_memory(
    limited: _LimitedRuns, first: int, second: int
) -> None:
    """More than 10 rows run only while nothing else runs."""
    async with asyncio.timeout(60):
        tasks = [limited.start(first)]
        assert await limited.started.get() == first
        tasks.append(limited.start(second))
        await asyncio.sleep(0)
        assert limited.queued == 1
        limited.may_end.release()
        assert await limited.started.get() == second
        limited.may_end.release()
        assert await asyncio.gather(*tasks) == [first, second]


async def test_run_that_fits_starts_beside_response(limited: _LimitedRuns) -> None:
    async with asyncio.timeout(60):
        tasks = [limited.start(rows) for rows in (8, 2)]
        assert {await limited.started.get() for _ in tasks} == {8, 2}
        assert limited.queued == 0
        for _ in tasks:
            limited.may_end.release()
        assert await asyncio.gather(*tasks) == [8, 2]


async def test_responses_that_are_sent_delay_only_runs_beside_others(limited: _LimitedRuns) -> None:
    """A client that takes its response slowly must not stop the other ones."""
    scheduler = limited.scheduler
    scheduler.hold_response(8 << 20)
    async with asyncio.timeout(60):
        tasks = [limited.start(3)]
        assert await limited.started.get() == 3
        tasks.append(limited.start(1))
        await asyncio.sleep(0)
        assert limited.queued == 1
        scheduler.release_response(8 << 20)
        assert await limited.started.get() == 1
        for _ in tasks:
            limited.may_end.release()
        assert await asyncio.gather(*tasks) == [3, 1]


async def test_run_that_fails_beside_responses_that_are_sent_can_be_repeated(
    limited: _LimitedRuns, model: _FakeModel
) -> None:
    """Without them, the same failure means that the request is too large."""
    scheduler = limited.scheduler
    model.error = MemoryExceededError()
    scheduler.hold_response(8 << 20)
    async with asyncio.timeout(60):
        with pytest.raises(RequestError, match="not received yet take 8 MiB") as caught:
            await limited.start(12)
        assert caught.value.status == 503
        scheduler.release_response(8 << 20)
        model.error = None
        limited.may_end.release()
        assert await limited.start(12) == 12
        model.error = MemoryExceededError()
        for _ in range(2):
            with pytest.raises(RequestError, match="needs about 12 MiB") as caught:
                await limited.start(12)
            assert caught.value.status == 413
            model.error = None  # The size is known now.


async def test_canceled_response_releases_its_memory(limited: _LimitedRuns) -> None:
    async with asyncio.timeout(60):
        first = limited.start(12)
        await limited.started.get()
        second = limited.start(12)
        await asyncio.sleep(0)
        first.cancel()
        assert await limited.started.get() == 12
        limited.may_end.release()
        assert await second == 12


async def test_request_canceled_during_its_run_releases_its_memory(limited: _LimitedRuns) -> None:
    async with asyncio.timeout(60):
        first = limited.start(12)
        await asyncio.sleep(0)
        first.cancel()
        second = limited.start(12)
        assert await limited.started.get() == 12
        limited.may_end.release()
        assert await second == 12
