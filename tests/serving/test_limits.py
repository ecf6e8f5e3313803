"""Limits of body, rows, queue and time. A request beyond a limit is rejected at once."""

import json
import socket
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from tests.serving.berth import Berth, run_berth, slow_request, wait_until, write_slow_model
from tests.serving.held_berth import HELD, HeldRuns, run_held_berth
from tests.serving.test_protocol import REQUEST

_ENDLESS = 10**12


def test_body_beyond_limit_is_rejected(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log, max_body_bytes="1000") as berth:
        for content in (b" " * 1001, iter([b" " * 600, b" " * 600])):
            response = berth.client.post(berth.infer_path, content=content)
            assert response.status_code == 413
            assert "1000 bytes" in response.json()["error"]
        body = json.dumps(REQUEST).encode()
        assert berth.client.post(berth.infer_path, content=iter([body[:9], body[9:]])).is_success
        assert berth.infer(body + b" " * (1000 - len(body))).status_code == 200


@pytest.mark.parametrize("size", [1001, 20_000_000])
def test_client_that_sends_whole_body_receives_early_error(
    echo_model: Path, log: Path, tmp_path: Path, size: int
) -> None:
    token = tmp_path / "token"
    token.write_text("the-gateways-token")
    valid = {"x-berth-token": "the-gateways-token"}
    with run_berth(echo_model, log, max_body_bytes="1000", token_file=str(token)) as berth:
        url = f"http://127.0.0.1:{berth.port}{berth.infer_path}"
        for headers, status in ((valid, 413), ({}, 401)):
            request = urllib.request.Request(url, b" " * size, headers)
            for _ in range(3):
                with pytest.raises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(request)
                assert caught.value.code == status
                assert list(json.load(caught.value)) == ["error"]


def test_bodies_beyond_the_memory_wait_and_short_requests_do_not(
    echo_model: Path, log: Path
) -> None:
    with run_berth(echo_model, log, body_memory_bytes="4000000") as berth:
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n" % (
            berth.infer_path.encode()
        )
        with berth.connect() as unfinished:
            unfinished.sendall(head + b" " * 1_900_000)
            assert berth.infer(REQUEST).status_code == 200
            with ThreadPoolExecutor(6) as pool:
                waiting = [pool.submit(berth.infer, b" " * 2_000_000) for _ in range(6)]
                unfinished.sendall(b" " * 100_000)
                assert unfinished.recv(12) == b"HTTP/1.1 400"
                assert {each.result().status_code for each in waiting} == {400}


def test_half_closed_body_gets_408(berth: Berth) -> None:
    with berth.connect() as connection:
        head = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        response = b""
        while part := connection.recv(1000):
            response += part
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"' in response


def test_trailers_are_dropped_and_counted(berth: Berth) -> None:
    before = berth.metric("berth_dropped_trailers_total")
    body = json.dumps(REQUEST).encode()
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    trailers = b"inference-header-content-length: 1\r\ncontent-encoding: gzip\r\n"
    with berth.connect() as connection:
        connection.sendall(head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert berth.metric("berth_dropped_trailers_total") == before + 2


def test_unfinished_body_gets_408(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log, deadline_seconds="0.2") as berth:
        with berth.connect() as connection:
            head = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert berth.infer(REQUEST).status_code == 200


def test_unfinished_head_gets_408(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log, deadline_seconds="0.2") as berth:
        with berth.connect() as connection:
            connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nhost:")
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert berth.infer(REQUEST).status_code == 200


@pytest.mark.parametrize("lines", [1, 500])
def test_head_beyond_limit_gets_431(berth: Berth, lines: int) -> None:
    with berth.connect() as connection:
        head = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"
        for number in range(lines):
            head += b"x-%d: %s\r\n" % (number, b"a" * (70_000 // lines))
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_number_of_arriving_bodies_is_limited(echo_model: Path, log: Path) -> None:
    """Each body takes memory until it is complete."""
    with run_berth(echo_model, log, queue="0", threads="1", deadline_seconds="600") as berth:
        body = json.dumps(REQUEST).encode()
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (
            berth.infer_path.encode(),
            len(body),
        )
        with berth.connect() as first:
            first.sendall(head + body[:20])
            berth.wait_for_in_flight(1)
            with berth.connect() as second:
                second.sendall(head + body[:20])
                response = second.recv(1000)
            assert response.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in response
            first.sendall(body[20:])
            assert first.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("coding", ["", "identity", "Identity", "identity, IDENTITY"])
def test_identity_is_no_compression(berth: Berth, coding: str) -> None:
    response = berth.infer(REQUEST, headers={"content-encoding": coding})
    assert response.status_code == 200


@pytest.mark.parametrize("coding", ["br", "identity, br", "identity;q=1"])
def test_body_in_other_coding_is_rejected(berth: Berth, coding: str) -> None:
    response = berth.infer(REQUEST, headers={"content-encoding": coding})
    assert response.status_code == 415


def test_request_beyond_row_limit_is_rejected(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log, max_batch="1") as berth:
        response = berth.infer(REQUEST)
        assert response.status_code == 413
        assert "2 rows; the maximum is 1" in response.json()["error"]


def test_request_beyond_queue_is_rejected_while_others_finish(
    slow_model: Path, log: Path, held: HeldRuns
) -> None:
    """One request runs, one is queued, and four are rejected before these two finish."""
    settings = {"threads": "1", "queue": "1", "deadline_seconds": "600"}
    with (
        run_held_berth(slow_model, log, held, **settings) as berth,
        ThreadPoolExecutor(6) as pool,
    ):
        requests = [pool.submit(berth.infer, slow_request(HELD)) for _ in range(6)]
        wait_until(lambda: sum(request.done() for request in requests) == 4, "four rejections")
        held.release()
        wait(requests)
        responses = [request.result() for request in requests]
        codes = Counter(response.status_code for response in responses)
        assert codes == {200: 2, 503: 4}
        for response in responses:
            if response.status_code == 503:
                assert int(response.headers["retry-after"]) >= 1
                assert "The queue is full (1 request)" in response.json()["error"]
        assert berth.metric("berth_requests_total", 'code="503"') == 4
        assert berth.infer(slow_request(1)).status_code == 200


def _accepts_requests(berth: Berth) -> bool:
    """Return whether a short request succeeds. A busy machine may need more than the deadline."""
    status = berth.infer(slow_request(1)).status_code
    assert status in (200, 503, 504)
    return status == 200


def test_deadline_ends_run_and_frees_thread(slow_model: Path, log: Path) -> None:
    settings = {"threads": "1", "deadline_seconds": "0.3", "loop_threshold_ms": "0"}
    with run_berth(slow_model, log, **settings) as berth:
        response = berth.infer(slow_request(_ENDLESS))
        assert response.status_code == 504
        assert "0.3 s" in response.json()["error"]
        wait_until(lambda: _accepts_requests(berth), "the thread is free")


def test_deadline_applies_to_queued_request(slow_model: Path, log: Path) -> None:
    settings = {"threads": "1", "deadline_seconds": "0.3", "loop_threshold_ms": "0"}
    with run_berth(slow_model, log, **settings) as berth:
        with ThreadPoolExecutor(2) as pool:
            codes = sorted(
                response.status_code
                for response in pool.map(lambda _: berth.infer(slow_request(_ENDLESS)), range(2))
            )
        assert codes in ([503, 504], [504, 504])
        wait_until(lambda: _accepts_requests(berth), "the thread is free")


def test_health_check_responds_during_long_run(slow_model: Path, log: Path, held: HeldRuns) -> None:
    settings = {"threads": "1", "deadline_seconds": "600"}
    with (
        run_held_berth(slow_model, log, held, **settings) as berth,
        ThreadPoolExecutor(1) as pool,
    ):
        request = pool.submit(berth.infer, slow_request(HELD))
        held.wait_for_run()
        with berth.create_client() as client:
            assert client.get("/v2/health/ready").status_code == 200
        assert not request.done()
        held.release()
        assert request.result().status_code == 200


@pytest.mark.slow
def test_model_slower_than_estimated_leaves_event_loop(tmp_path: Path, log: Path) -> None:
    """The run time of this model depends on the value of its input, not on its size."""
    model = write_slow_model(tmp_path / "model", size=64)
    with run_berth(model, log, loop_threshold_ms="100", deadline_seconds="600") as berth:
        times = 1000
        while not any("using the thread pool" in line["message"] for line in berth.read_log()):
            assert berth.infer(slow_request(times)).status_code == 200
            times *= 2
        assert berth.infer(slow_request(1000)).status_code == 200


def test_request_without_valid_token_is_rejected(
    echo_model: Path, log: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("the-gateways-token\n")
    with run_berth(echo_model, log, token_file=str(token)) as berth:
        for headers in ({}, {"x-berth-token": "guess"}, {"x-berth-token": ""}):
            assert berth.infer(REQUEST, headers=headers).status_code == 401
        valid = {"x-berth-token": "the-gateways-token"}
        assert berth.infer(REQUEST, headers=valid).status_code == 200
        for path in ("/v2", "/v2/health/ready", "/v2/models/m", "/metrics"):
            assert berth.client.get(path).status_code == 200
