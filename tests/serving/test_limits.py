"""Body, rows, queue and time are bounded, and whoever is beyond a bound is told at once."""

import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.serving.berth import Berth, running, slow, slow_request
from tests.serving.test_protocol import REQUEST


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow(tmp_path_factory.mktemp("slow"))


def _seconds(berth: Berth, times: int) -> float:
    started = time.monotonic()
    assert berth.infer(slow_request(times)).status_code == 200
    return time.monotonic() - started


def _times(berth: Berth, seconds: float) -> int:
    """How many matrix products take about so long on this machine."""
    return max(100, int(500 / _seconds(berth, 500) * seconds))


def test_body(echo: Path, log: Path) -> None:
    with running(echo, log, max_body_bytes="1000") as berth:
        for content in (b" " * 1001, iter([b" " * 600, b" " * 600])):
            response = berth.client.post(berth.infer_path, content=content)
            assert response.status_code == 413
            assert "1000 bytes" in response.json()["error"]
        body = json.dumps(REQUEST).encode()
        assert berth.client.post(berth.infer_path, content=iter([body[:9], body[9:]])).is_success
        assert berth.infer(body + b" " * (1000 - len(body))).status_code == 200


def test_body_that_does_not_come(echo: Path, log: Path) -> None:
    with running(echo, log, deadline_seconds="0.2") as berth:
        with socket.create_connection(("127.0.0.1", berth.port), timeout=10) as connection:
            head = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert berth.infer(REQUEST).status_code == 200


def test_head_that_does_not_come(echo: Path, log: Path) -> None:
    with running(echo, log, deadline_seconds="0.2") as berth:
        with socket.create_connection(("127.0.0.1", berth.port), timeout=10) as connection:
            connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nhost:")
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert berth.infer(REQUEST).status_code == 200


@pytest.mark.parametrize("lines", [1, 500])
def test_head_that_is_too_long(berth: Berth, lines: int) -> None:
    with socket.create_connection(("127.0.0.1", berth.port), timeout=10) as connection:
        head = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"
        for number in range(lines):
            head += b"x-%d: %s\r\n" % (number, b"a" * (70_000 // lines))
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_bodies_that_arrive_at_once(echo: Path, log: Path) -> None:
    """Each takes memory until it is whole, so only so many may."""
    with running(echo, log, queue="0", threads="1") as berth:
        body = json.dumps(REQUEST).encode()
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (
            berth.infer_path.encode(),
            len(body),
        )
        with socket.create_connection(("127.0.0.1", berth.port), timeout=10) as first:
            first.sendall(head + body[:20])
            deadline = time.monotonic() + 10
            while berth.metric("berth_in_flight_requests") < 1:
                assert time.monotonic() < deadline
            with socket.create_connection(("127.0.0.1", berth.port), timeout=10) as second:
                second.sendall(head + body[:20])
                answer = second.recv(1000)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer
            first.sendall(body[20:])
            assert first.recv(100).startswith(b"HTTP/1.1 200 ")


def test_compressed_body(berth: Berth) -> None:
    response = berth.infer(REQUEST, headers={"content-encoding": "gzip"})
    assert response.status_code == 415


def test_rows(echo: Path, log: Path) -> None:
    with running(echo, log, max_batch="1") as berth:
        response = berth.infer(REQUEST)
        assert response.status_code == 400
        assert "2 rows; at most 1" in response.json()["error"]


def test_queue(slow_model: Path, log: Path) -> None:
    """One runs, one waits, the others are refused while both still do."""
    with running(slow_model, log, threads="1", queue="1", loop_threshold_ms="0") as berth:
        times = _times(berth, 1.0)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: berth.infer(slow_request(times)), range(6)))
        codes = Counter(answer.status_code for answer in answers)
        assert codes == {200: 2, 503: 4}
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1
                assert "1 requests are waiting" in answer.json()["error"]
        assert berth.metric("berth_requests_total", 'code="503"') == 4
        assert berth.infer(slow_request(1)).status_code == 200


def test_deadline_ends_the_run_and_frees_the_thread(slow_model: Path, log: Path) -> None:
    with running(
        slow_model, log, threads="1", deadline_seconds="0.3", loop_threshold_ms="0"
    ) as berth:
        endless = 10**12
        response = berth.infer(slow_request(endless))
        assert response.status_code == 504
        assert "0.3 s" in response.json()["error"]
        assert berth.infer(slow_request(1)).status_code == 200


def test_deadline_while_waiting(slow_model: Path, log: Path) -> None:
    with running(
        slow_model, log, threads="1", deadline_seconds="0.3", loop_threshold_ms="0"
    ) as berth:
        with ThreadPoolExecutor(2) as pool:
            codes = sorted(
                answer.status_code
                for answer in pool.map(lambda _: berth.infer(slow_request(10**12)), range(2))
            )
        assert codes == [503, 504] or codes == [504, 504]
        assert berth.infer(slow_request(1)).status_code == 200


def test_health_answers_while_a_long_run_goes_on(slow_model: Path, log: Path) -> None:
    with running(slow_model, log, threads="1") as berth:
        times = _times(berth, 3.0)
        answer: list[int] = []
        thread = threading.Thread(
            target=lambda: answer.append(berth.infer(slow_request(times)).status_code)
        )
        thread.start()
        deadline = time.monotonic() + 10
        while berth.metric("berth_in_flight_requests") < 1:
            assert time.monotonic() < deadline
        with httpx.Client(base_url=str(berth.client.base_url)) as other:
            assert other.get("/v2/health/ready").status_code == 200
        assert not answer
        thread.join()
        assert answer == [200]


def test_model_whose_time_follows_its_values_leaves_the_event_loop(
    slow_model: Path, log: Path
) -> None:
    with running(slow_model, log, loop_threshold_ms="20") as berth:
        times = _times(berth, 0.3)
        for _ in range(3):
            assert berth.infer(slow_request(times)).status_code == 200
        assert any("all go to threads" in line["message"] for line in berth.logged())
        assert berth.infer(slow_request(times)).status_code == 200


def test_token(echo: Path, log: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the-gateways-token\n")
    with running(echo, log, token_file=str(token)) as berth:
        for headers in ({}, {"x-berth-token": "guess"}, {"x-berth-token": ""}):
            assert berth.infer(REQUEST, headers=headers).status_code == 401
        right = {"x-berth-token": "the-gateways-token"}
        assert berth.infer(REQUEST, headers=right).status_code == 200
        for path in ("/v2", "/v2/health/ready", "/v2/models/m", "/metrics"):
            assert berth.client.get(path).status_code == 200
