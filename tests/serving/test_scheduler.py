"""The scheduler's estimate of run times, on a clock that the test controls."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest

from berth_serving.model import Model
from berth_serving.scheduler import Scheduler
from berth_serving.tensors import Array


class _FakeModel:
    """A model whose runs take `seconds` on the fake clock."""

    row_inputs = ("x",)

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = 0.0

    def count_rows(self, feeds: Mapping[str, Array]) -> int:
        return len(feeds["x"])

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], _options: Any = None
    ) -> list[Array]:
        self.now += self.seconds
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


async def test_request_in_thread_returns_outputs(scheduler: Scheduler) -> None:
    arrays = await asyncio.wait_for(scheduler.run_in_thread(_LONG, ("y", "z")), timeout=60)
    assert len(arrays) == 2
