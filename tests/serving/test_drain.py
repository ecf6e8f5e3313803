"""Graceful shutdown and workers of a berth."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from berth_serving.http.draining_server import QUIET_SECONDS
from tests.serving.berth import Berth, run_berth, slow_request, wait_until
from tests.serving.held_berth import HELD, HeldRuns, run_held_berth
from tests.serving.test_protocol import REQUEST


def _wait_until_unreachable(berth: Berth) -> None:
    def is_unreachable() -> bool:
        try:
            berth.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(is_unreachable, "the listening sockets are closed")


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_requests_in_flight_finish_after_sigterm(
    slow_model: Path, log: Path, held: HeldRuns, workers: str
) -> None:
    settings = {"threads": "2", "workers": workers, "deadline_seconds": "600"}
    with (
        run_held_berth(slow_model, log, held, grace_seconds="600", **settings) as berth,
        ThreadPoolExecutor(3) as pool,
    ):
        requests = [pool.submit(berth.infer, slow_request(HELD)) for _ in range(3)]
        berth.wait_for_in_flight(3)
        berth.process.send_signal(signal.SIGTERM)
        _wait_until_unreachable(berth)
        assert not any(request.done() for request in requests)
        held.release()
        assert [request.result().status_code for request in requests] == [200] * 3
        assert berth.wait_for_exit() == 0


def test_open_connection_does_not_become_ready_after_sigterm(
    slow_model: Path, log: Path, held: HeldRuns
) -> None:
    settings = {"threads": "1", "deadline_seconds": "600", "grace_seconds": "600"}
    with run_held_berth(slow_model, log, held, **settings) as berth:
        body = json.dumps(slow_request(HELD)).encode()
        post = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        with berth.connect() as connection:
            connection.sendall(post % len(body) + body)
            held.wait_for_run()
            berth.process.send_signal(signal.SIGTERM)
            _wait_until_unreachable(berth)
            # The connection closes after the response to the request in flight.
            connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
            held.release()
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b'"ready":true' not in received
        assert berth.wait_for_exit() == 0


def test_sigterm_under_load_fails_no_request(echo_model: Path, log: Path) -> None:
    """A client leaves when a response closes its connection, and nothing else makes it leave.

    A client that pauses for longer than the berth waits may find its connection closed. On a busy
    machine, a client of this test may pause unintentionally.
    """
    with run_berth(echo_model, log) as berth:
        body = json.dumps(REQUEST)
        problems: list[object] = []
        responses = [0] * 4

        def send_requests(number: int) -> None:
            with berth.create_client() as client:
                last = time.monotonic()
                while True:
                    try:
                        response = client.post(berth.infer_path, content=body)
                    except httpx.TransportError as error:
                        if time.monotonic() - last < QUIET_SECONDS:
                            problems.append(error)
                        return
                    last = time.monotonic()
                    responses[number] += 1
                    if response.status_code != 200:
                        problems.append(response.text)
                    if response.headers.get("connection") == "close":
                        return

        threads = [threading.Thread(target=send_requests, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: min(responses) > 25, "more than 100 responses")
        berth.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert problems == []
        assert berth.wait_for_exit() == 0
        messages = [line["message"] for line in berth.read_log()]
        assert "Request rejected" not in messages
        assert messages.count("Request completed") == sum(responses)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_request_beyond_grace_period_gets_503(
    slow_model: Path, log: Path, held: HeldRuns, workers: str
) -> None:
    settings = {"threads": "1", "grace_seconds": "4", "workers": workers}
    with run_held_berth(slow_model, log, held, **settings) as berth:
        with ThreadPoolExecutor(1) as pool:
            request = pool.submit(berth.infer, slow_request(HELD))
            held.wait_for_run()
            berth.process.send_signal(signal.SIGTERM)
            response = request.result()
        assert response.status_code == 503
        assert "stopping" in response.json()["error"]
        assert berth.wait_for_exit() == 0


def _find_workers(berth: Berth) -> list[int]:
    workers = []
    for child in psutil.Process(berth.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                workers.append(child.pid)
    return workers


@contextlib.contextmanager
def _run_two_workers(model: Path, log: Path) -> Iterator[Berth]:
    with run_berth(model, log, workers="2") as berth:
        wait_until(lambda: berth.count_started_workers() == 2, "two workers")
        yield berth


@pytest.mark.slow
def test_killed_worker_is_replaced(echo_model: Path, log: Path) -> None:
    with _run_two_workers(echo_model, log) as berth:
        victim = _find_workers(berth)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: berth.count_started_workers() == 3, "a third worker")
        workers = _find_workers(berth)
        assert len(workers) == 2
        assert victim not in workers
        for _ in range(20):
            with berth.create_client() as client:
                assert client.post(berth.infer_path, json=REQUEST).status_code == 200
        assert berth.process.poll() is None


@pytest.mark.slow
def test_metrics_of_workers_are_merged(echo_model: Path, log: Path) -> None:
    with _run_two_workers(echo_model, log) as berth:
        for _ in range(40):
            with berth.create_client() as client:
                client.post(berth.infer_path, json=REQUEST)
        assert berth.metric("berth_requests_total", 'code="200"') == 40
        assert berth.metric("berth_model_info") == 1


@pytest.mark.slow
def test_workers_exit_with_killed_supervisor(echo_model: Path, log: Path) -> None:
    """Otherwise they would keep the port from the berth that replaces this one."""
    with _run_two_workers(echo_model, log) as berth:
        orphans = _find_workers(berth)
        assert len(orphans) == 2
        berth.process.kill()
        berth.process.wait()
        wait_until(
            lambda: not any(psutil.pid_exists(orphan) for orphan in orphans), "the workers exit"
        )
        with socket.create_server(("127.0.0.1", berth.port)):
            pass
