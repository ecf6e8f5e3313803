"""Clients that do not take their responses: memory stays bounded, and other clients get theirs."""

import queue
import socket
from contextlib import ExitStack

import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest
from tests.gateway.gateway_process import (
    KEY,
    GatewayProcess,
    build_config,
    build_model,
    wait_until,
)

_INFER = "/v2/models/digits/infer"
_REQUEST = f"POST {_INFER} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: 2\r\n\r\n{{}}"
_MEBIBYTE = 1 << 20
_MEMORY_BYTES = 8 * _MEBIBYTE
_CLIENTS = 120
_DROPPED = "berth_gateway_dropped_responses_total"
# More than the buffers of the sockets hold.
_RESPONSE = b"x" * (12 * _MEBIBYTE)


def _respond(handler: Handler, _: RecordedRequest) -> None:
    handler.send(200, _RESPONSE)


def test_responses_that_no_client_takes_occupy_bounded_memory(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    berth_1.respond = _respond
    gateway.environment["GATEWAY_BODY_MEMORY_BYTES"] = str(_MEMORY_BYTES)
    gateway.start(build_config(models={"digits": build_model({"1": berth_1.url}, {"1": 100})}))
    with ExitStack() as stack, gateway.client() as http:
        assert http.post(_INFER, content=b"{}").content == _RESPONSE
        before = gateway.read_memory()
        for _ in range(_CLIENTS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", gateway.port))
            client.sendall(_REQUEST.encode())
        # Each that waits counts as 384 KiB or more.
        wait_until(
            lambda: gateway.get_metric(_DROPPED) >= _CLIENTS - _MEMORY_BYTES // (384 << 10),
            "responses that are dropped",
        )
        wait_until(lambda: len(berth_1.requests) == 1 + _CLIENTS, "all responses")
        assert http.post(_INFER, content=b"{}").content == _RESPONSE
        during = gateway.read_memory()
    if before is None or during is None:
        pytest.skip("memory is read from /proc, which only Linux has")
    # Without the limit, they take 94 MiB. Connections have objects too, and some are being closed.
    assert during["VmHWM"] - before["VmRSS"] < 6 * _MEMORY_BYTES


def test_rest_of_a_response_is_not_read_after_its_client_has_left(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    errors = queue.Queue[type[OSError] | None]()

    def respond(handler: Handler, request: RecordedRequest) -> None:
        try:
            _respond(handler, request)
        except OSError as error:
            errors.put(type(error))
            raise
        errors.put(None)

    berth_1.respond = respond
    gateway.start(build_config(models={"digits": build_model({"1": berth_1.url}, {"1": 100})}))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(_REQUEST.encode())
        assert client.recv(12) == b"HTTP/1.1 200"
    assert errors.get(timeout=60) is not None
    with gateway.client() as http:
        assert http.post(_INFER, content=b"{}").content == _RESPONSE
    wait_until(lambda: gateway.get_metric("berth_gateway_in_flight") == 0, "the end")
    statuses = [line["status"] for line in gateway.read_access_log()]
    assert statuses == [200, 200]
    assert "failed" not in gateway.read_log()
