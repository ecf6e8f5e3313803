"""The life of the process: how it starts, refuses to start, drains and ends."""

import json
import os
import signal
import socket
import threading
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth, Handler, RecordedRequest, respond_ok
from tests.gateway.gateway_process import GatewayProcess, build_config, build_model, wait_until

INFER = "/v2/models/digits/infer"


def digits(berth: FakeBerth) -> dict[str, Any]:
    return build_config(
        models={"digits": build_model({berth.version: berth.url}, {berth.version: 100})}
    )


@pytest.mark.parametrize(
    ("environment", "message"),
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
        ({"GATEWAY_CONFIG": "/nowhere/gateway.json"}, "/nowhere/gateway.json: No such file"),
        ({"GATEWAY_STATE_DIR": "/nowhere"}, "GATEWAY_STATE_DIR=/nowhere: must be a folder"),
        ({"GATEWAY_TOKEN_FILE": "/nowhere"}, "/nowhere: No such file"),
        ({"GATEWAY_GRACE_SECONDS": "soon"}, "GATEWAY_GRACE_SECONDS=soon: must be a number"),
        ({"GATEWAY_LOG_LEVEL": "loud"}, "GATEWAY_LOG_LEVEL=loud: must be one of debug"),
    ],
)
def test_bad_settings(gateway: GatewayProcess, environment: dict[str, str], message: str) -> None:
    gateway.environment |= environment
    gateway.write_config(build_config())
    gateway.spawn()
    assert gateway.wait_for_exit() == 2
    assert message in gateway.read_log()
    assert len(gateway.read_log().splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", json.dumps(build_config(clients=None)).encode()])
def test_a_bad_table(gateway: GatewayProcess, content: bytes) -> None:
    gateway.write_config(content)
    gateway.spawn()
    assert gateway.wait_for_exit() == 2
    assert "gateway.json: " in gateway.read_log()
    assert len(gateway.read_log().splitlines()) == 1


@pytest.mark.parametrize("which", ["GATEWAY_PORT", "GATEWAY_AUTHORIZE_PORT", "GATEWAY_ADMIN_PORT"])
def test_a_port_in_use(gateway: GatewayProcess, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway.environment[which] = str(port)
        gateway.write_config(build_config())
        gateway.spawn()
        assert gateway.wait_for_exit() == 4
    assert f"port {port} of 127.0.0.1 is in use" in gateway.read_log()
    assert len(gateway.read_log().splitlines()) == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_with_0(gateway: GatewayProcess, ending: signal.Signals) -> None:
    gateway.start(build_config())
    with gateway.client() as http:
        assert http.get("/v2").status_code == 200
        os.kill(gateway.pid, ending)
        assert gateway.wait_for_exit() == 0
    [line] = gateway.read_log().splitlines()
    assert f"listening on 127.0.0.1:{gateway.port}" in json.loads(line)["message"]


def test_its_ports_are_free_for_the_next_one(gateway: GatewayProcess) -> None:
    for _ in range(2):
        gateway.start(build_config())
        with gateway.client() as http:
            assert http.get("/v2").status_code == 200
        assert gateway.stop() == 0


def test_a_drain_finishes_what_is_under_way_and_takes_nothing_new(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    arrived, resume = threading.Event(), threading.Event()

    def wait(handler: Handler, request: RecordedRequest) -> None:
        arrived.set()
        resume.wait(20)
        respond_ok(handler, request)

    berth_1.respond = wait
    gateway.start(digits(berth_1))
    responses: list[httpx.Response] = []

    def ask() -> None:
        with gateway.client() as http:
            responses.append(http.post(INFER, json={}))

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(20)
    gateway.terminate()
    wait_until(lambda: gateway.get_admin("/healthz").json()["ready"] is False, "not ready")
    wait_until(lambda: not _connects(gateway.port), "no new connection taken")
    resume.set()
    thread.join()
    assert [response.status_code for response in responses] == [200]
    assert responses[0].headers["connection"] == "close"
    assert gateway.wait_for_exit() == 0


def test_a_drain_that_takes_too_long_ends_all_the_same(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    arrived, over = threading.Event(), threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        arrived.set()
        over.wait(20)
        handler.disconnect()

    berth_1.respond = stall
    gateway.environment["GATEWAY_GRACE_SECONDS"] = "2"
    gateway.start(digits(berth_1))
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
    assert gateway.wait_for_exit() == 0
    over.set()
    thread.join()
    assert len(failures) == 1


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
