"""The schedule of a graceful shutdown, and the responses while it lasts."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from berth_protocol.body_memory import BodyMemory
from berth_serving.http.app import App
from berth_serving.http.draining_server import Drain, DrainStep
from berth_serving.metrics import Metrics
from berth_serving.model import load_model
from berth_serving.settings import Settings
from berth_serving.worker import warm_up
from tests.serving.test_protocol import REQUEST

_START = 1000.0


def test_listener_closes_after_quiet_period() -> None:
    drain = Drain(30, _START, request_count=5)
    assert drain.next_step(_START, 5) is DrainStep.ACCEPT
    assert drain.next_step(_START + 0.2, 6) is DrainStep.ACCEPT
    assert drain.next_step(_START + 0.45, 6) is DrainStep.ACCEPT
    assert drain.next_step(_START + 0.55, 6) is DrainStep.CLOSE_LISTENER


def test_listener_stays_open_for_the_accept_period_without_requests() -> None:
    drain = Drain(30, _START, 0, accept_seconds=3)
    assert drain.next_step(_START + 2.9, 0) is DrainStep.ACCEPT
    assert drain.next_step(_START + 3.1, 0) is DrainStep.CLOSE_LISTENER


def test_server_stops_a_moment_after_listener_closes() -> None:
    drain = Drain(30, _START, request_count=0)
    assert drain.next_step(_START + 0.5, 0) is DrainStep.CLOSE_LISTENER
    assert drain.next_step(_START + 0.6, 1) is DrainStep.CLOSE_LISTENER
    assert drain.next_step(_START + 0.75, 1) is DrainStep.STOP


def test_requests_do_not_delay_listener_beyond_window() -> None:
    drain = Drain(30, _START, request_count=0)
    steps = [drain.next_step(_START + tenth / 10, tenth) for tenth in range(1, 52)]
    assert steps.index(DrainStep.CLOSE_LISTENER) == 49


def test_window_is_at_most_half_of_grace_period() -> None:
    drain = Drain(4, _START, request_count=0)
    steps = [drain.next_step(_START + tenth / 10, tenth) for tenth in range(1, 31)]
    assert steps.index(DrainStep.CLOSE_LISTENER) == 19


@pytest.mark.parametrize(("grace", "cancel", "stop"), [(30, 28, 29), (2, 1, 1.5), (0, 0, 0.1)])
def test_requests_are_cancelled_before_server_stops(
    grace: float, cancel: float, stop: float
) -> None:
    drain = Drain(grace, _START, request_count=0)
    assert drain.cancel_time == _START + cancel
    assert drain.remaining_seconds(_START) == stop


@pytest.fixture
def app(echo_model: Path) -> App:
    settings = Settings.read({"BERTH_MODEL_DIR": str(echo_model), "BERTH_LOOP_THRESHOLD_MS": "999"})
    metrics = Metrics(None)
    plane = warm_up(load_model(settings), settings, metrics)
    plane.is_ready = False
    return App(settings, plane, metrics, None, BodyMemory(1 << 30))


async def _send(app: App, method: str, path: str, body: bytes = b"") -> tuple[int, dict[Any, Any]]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"method": method, "raw_path": path.encode(), "headers": []}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


async def test_draining_berth_fails_readiness_and_accepts_requests(app: App) -> None:
    status, headers = await _send(app, "GET", "/v2/health/ready")
    assert (status, headers[b"connection"]) == (503, b"close")
    status, headers = await _send(app, "POST", "/v2/models/m/infer", orjson.dumps(REQUEST))
    assert (status, headers[b"connection"]) == (200, b"close")
    status, _ = await _send(app, "GET", "/v2/health/live")
    assert status == 200
