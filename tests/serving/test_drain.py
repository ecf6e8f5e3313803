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


def test_sigterm_under_load_fails_no_request(echo: Path, log: Path) -> None:
    """Each client is told to go by an answer that closes its connection, and by nothing else."""
    with running(echo, log) as berth:
        body = json.dumps(REQUEST)
        wrong: list[object] = []
        answered = [0]

        def ask() -> None:
            with httpx.Client(base_url=str(berth.client.base_url), timeout=20) as client:
                while True:
                    try:
                        response = client.post(berth.infer_path, content=body)
                    except httpx.TransportError as error:
                        wrong.append(error)
                        return
                    answered[0] += 1
                    if response.status_code != 200:
                        wrong.append(response.text)
                    if response.headers.get("connection") == "close":
                        return

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


def test_ready_is_refused_while_requests_are_still_taken(echo: Path, log: Path) -> None:
    with running(echo, log, grace_seconds="4") as berth:
        berth.process.send_signal(signal.SIGTERM)
        answers: list[tuple[int, int]] = []
        with contextlib.suppress(httpx.TransportError):
            while True:
                taken = berth.infer(REQUEST).status_code
                answers.append((taken, berth.client.get("/v2/health/ready").status_code))
        # The first ready may have been asked before the signal came through.
        assert {taken for taken, _ in answers} == {200}
        assert answers[-1] == (200, 503)
        assert berth.process.wait(timeout=20) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_not_finished_in_the_grace_period_is_refused(
    tmp_path: Path, log: Path, workers: str
) -> None:
    settings = {"threads": "1", "loop_threshold_ms": "0", "grace_seconds": "2"}
    with running(slow(tmp_path), log, workers=workers, **settings) as berth:
        with ThreadPoolExecutor(1) as pool:
            endless = pool.submit(berth.infer, slow_request(10**12))
            _until(lambda: berth.metric("berth_in_flight_requests") == 1)
            berth.process.send_signal(signal.SIGTERM)
            answer = endless.result()
        assert answer.status_code == 503
        assert "stopping" in answer.json()["error"]
        assert berth.process.wait(timeout=20) == 0


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


def test_workers_end_with_their_parent(echo: Path, log: Path) -> None:
    """They would keep the port, and whoever is started in its place could not have it."""
    with running(echo, log, workers="2") as berth:
        _until(lambda: sum("serving m 1" in line["message"] for line in berth.logged()) == 2)
        orphans = _workers(berth)
        assert len(orphans) == 2
        berth.process.kill()
        berth.process.wait()
        _until(lambda: not any(psutil.pid_exists(orphan) for orphan in orphans))
        with socket.create_server(("127.0.0.1", berth.port)):
            pass
