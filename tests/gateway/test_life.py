"""The life of the process: how it starts, refuses to start, drains and ends."""

import json
import os
import signal
import socket
import threading
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import Asked, FakeBerth, Handler, answer_ok
from tests.gateway.gateway_process import GatewayProcess, model, table, wait_until

INFER = "/v2/models/digits/infer"


def digits(berth: FakeBerth) -> dict[str, Any]:
    return table(models={"digits": model({berth.version: berth.url}, {berth.version: 100})})


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"GATEWAY_PORT": ""}, "GATEWAY_PORT: must be set"),
        ({"GATEWAY_PORT": "http"}, "GATEWAY_PORT=http: must be a TCP port"),
        ({"GATEWAY_ADMIN_PORT": "70000"}, "GATEWAY_ADMIN_PORT=70000: must be a TCP port"),
        ({"GATEWAY_AUTHORIZE_PORT": "0"}, "GATEWAY_AUTHORIZE_PORT=0: must be a TCP port"),
        ({"GATEWAY_ADMIN_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1:"),
        ({"GATEWAY_WATCH_SECONDS": "-1"}, "GATEWAY_WATCH_SECONDS=-1: must be a number"),
        ({"GATEWAY_PEERS": "gate"}, "GATEWAY_PEER_PORT: must be set"),
        ({"GATEWAY_PEERS": "a..b"}, "GATEWAY_PEERS=a..b: must be names or addresses"),
        ({"GATEWAY_PEERS": "::1,gate.x"}, "GATEWAY_PEER_PORT: must be set"),
        ({"GATEWAY_PEERS": "gate, x"}, "GATEWAY_PEERS=gate, x: must be names or addresses"),
        ({"GATEWAY_TABLE": "/nowhere/table.json"}, "/nowhere/table.json: No such file"),
        ({"GATEWAY_STATE_DIR": "/nowhere"}, "GATEWAY_STATE_DIR=/nowhere: must be a folder"),
        ({"GATEWAY_TOKEN_FILE": "/nowhere"}, "/nowhere: No such file"),
        ({"GATEWAY_GRACE_SECONDS": "soon"}, "GATEWAY_GRACE_SECONDS=soon: must be a number"),
        ({"GATEWAY_LOG_LEVEL": "loud"}, "GATEWAY_LOG_LEVEL=loud: must be one of debug"),
    ],
)
def test_bad_settings(gateway: GatewayProcess, environment: dict[str, str], says: str) -> None:
    gateway.environment |= environment
    gateway.write_table(table())
    gateway.spawn()
    assert gateway.exit_status() == 2
    assert says in gateway.messages()
    assert len(gateway.messages().splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", json.dumps(table(clients=None)).encode()])
def test_a_bad_table(gateway: GatewayProcess, content: bytes) -> None:
    gateway.write_table(content)
    gateway.spawn()
    assert gateway.exit_status() == 2
    assert "table.json: " in gateway.messages()
    assert len(gateway.messages().splitlines()) == 1


@pytest.mark.parametrize("which", ["GATEWAY_PORT", "GATEWAY_AUTHORIZE_PORT", "GATEWAY_ADMIN_PORT"])
def test_a_port_in_use(gateway: GatewayProcess, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway.environment[which] = str(port)
        gateway.write_table(table())
        gateway.spawn()
        assert gateway.exit_status() == 4
    assert f"port {port} of 127.0.0.1 is in use" in gateway.messages()
    assert len(gateway.messages().splitlines()) == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_with_0(gateway: GatewayProcess, ending: signal.Signals) -> None:
    gateway.start(table())
    with gateway.client() as http:
        assert http.get("/v2").status_code == 200
        os.kill(gateway.pid, ending)
        assert gateway.exit_status() == 0
    [line] = gateway.messages().splitlines()
    assert f"listening on 127.0.0.1:{gateway.port}" in json.loads(line)["message"]


def test_its_ports_are_free_for_the_next_one(gateway: GatewayProcess) -> None:
    for _ in range(2):
        gateway.start(table())
        with gateway.client() as http:
            assert http.get("/v2").status_code == 200
        assert gateway.stop() == 0


def test_a_drain_finishes_what_is_under_way_and_takes_nothing_new(
    gateway: GatewayProcess, one: FakeBerth
) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(handler: Handler, asked: Asked) -> None:
        arrived.set()
        go_on.wait(20)
        answer_ok(handler, asked)

    one.behave = wait
    gateway.start(digits(one))
    answers: list[httpx.Response] = []

    def ask() -> None:
        with gateway.client() as http:
            answers.append(http.post(INFER, json={}))

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(20)
    gateway.terminate()
    wait_until(lambda: gateway.admin("/healthz").json()["ready"] is False, "not ready")
    wait_until(lambda: not _connects(gateway.port), "no new connection taken")
    go_on.set()
    thread.join()
    assert [answer.status_code for answer in answers] == [200]
    assert answers[0].headers["connection"] == "close"
    assert gateway.exit_status() == 0


def test_a_drain_that_takes_too_long_ends_all_the_same(
    gateway: GatewayProcess, one: FakeBerth
) -> None:
    arrived, over = threading.Event(), threading.Event()

    def stall(handler: Handler, _: Asked) -> None:
        arrived.set()
        over.wait(20)
        handler.hang_up()

    one.behave = stall
    gateway.environment["GATEWAY_GRACE_SECONDS"] = "2"
    gateway.start(digits(one))
    failures: list[str] = []

    def ask() -> None:
        with gateway.client() as http:
            try:
                http.post(INFER, json={}).raise_for_status()
            except httpx.HTTPError as error:
                failures.append(type(error).__name__)

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(20)
    gateway.terminate()
    assert gateway.exit_status() == 0
    over.set()
    thread.join()
    assert len(failures) == 1


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
