"""SIGTERM: not ready any more, everything under way is finished, status 0."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.berth import Berth, running, slow, slow_request
from tests.serving.test_protocol import REQUEST


def _until(condition: object, seconds: float = 15) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_under_way_is_finished(tmp_path: Path, log: Path, workers: str) -> None:
    settings = {"threads": "2", "loop_threshold_ms": "0", "workers": workers}
    with running(slow(tmp_path), log, **settings) as berth:
        started = time.monotonic()
        berth.infer(slow_request(500))
        times = max(100, int(500 / (time.monotonic() - started) * 1.5))
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(berth.infer, slow_request(times)) for _ in range(3)]
            _until(lambda: berth.metric("berth_in_flight_requests") == 3)
            berth.process.send_signal(signal.SIGTERM)
            assert [answer.result().status_code for answer in asked] == [200] * 3
        assert berth.process.wait(timeout=20) == 0


def test_not_ready_on_a_connection_that_is_open(tmp_path: Path, log: Path) -> None:
    with running(slow(tmp_path), log, threads="1", loop_threshold_ms="0") as berth:
        head = b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n"
        body = json.dumps(slow_request(10**5)).encode()
        post = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        with socket.create_connection(("127.0.0.1", berth.port), timeout=60) as connection:
            connection.sendall(post + body)
            _until(lambda: berth.metric("berth_in_flight_requests") == 1)
            berth.process.send_signal(signal.SIGTERM)
            # Asked behind the request under way; the connection is closed after that one.
            connection.sendall(head)
            answered = b""
            while chunk := connection.recv(65536):
                answered += chunk
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert b'"ready":true' not in answered
        assert berth.process.wait(timeout=20) == 0


def test_sigterm_under_load_fails_no_request_that_was_taken(echo: Path, log: Path) -> None:
    """A request is answered, or its connection was closed before any of it was read."""
    with running(echo, log) as berth:
        body = json.dumps(REQUEST)
        wrong: list[object] = []
        answered = [0]

        def ask() -> None:
            with httpx.Client(base_url=str(berth.client.base_url), timeout=20) as client:
                while True:
                    try:
                        response = client.post(berth.infer_path, content=body)
                    except httpx.TransportError:
                        return
                    answered[0] += 1
                    if response.status_code != 200:
                        wrong.append(response.text)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        _until(lambda: answered[0] > 100)
        berth.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(timeout=20)
        assert wrong == []
        assert berth.process.wait(timeout=20) == 0
        counted = [line for line in berth.logged() if line["message"] == "refused"]
        assert counted == []


def _workers(berth: Berth) -> list[int]:
    found = []
    for child in psutil.Process(berth.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def test_a_worker_that_dies_is_replaced(echo: Path, log: Path) -> None:
    with running(echo, log, workers="2") as berth:
        _until(lambda: sum("serving m 1" in line["message"] for line in berth.logged()) == 2)
        victim = _workers(berth)[0]
        os.kill(victim, signal.SIGKILL)
        _until(lambda: len(_workers(berth)) == 2 and victim not in _workers(berth))
        _until(lambda: sum("serving m 1" in line["message"] for line in berth.logged()) == 3)
        for _ in range(20):
            with httpx.Client(base_url=str(berth.client.base_url)) as fresh:
                assert fresh.post(berth.infer_path, json=REQUEST).status_code == 200
        assert berth.process.poll() is None


def test_metrics_of_several_workers_are_summed(echo: Path, log: Path) -> None:
    with running(echo, log, workers="2") as berth:
        _until(lambda: sum("serving m 1" in line["message"] for line in berth.logged()) == 2)
        for _ in range(40):
            with httpx.Client(base_url=str(berth.client.base_url)) as fresh:
                fresh.post(berth.infer_path, json=REQUEST)
        assert berth.metric("berth_requests_total", 'code="200"') == 40
        assert berth.metric("berth_model_info") == 1
