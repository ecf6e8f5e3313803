"""The gateway process: start, invalid settings, graceful shutdown and exit status."""

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


def build_digits_config(berth: FakeBerth) -> dict[str, Any]:
    return build_config(
        models={"digits": build_model({berth.version: berth.url}, {berth.version: 100})}
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"GATEWAY_PORT": ""}, "GATEWAY_PORT='': must be a whole number"),
        ({"GATEWAY_PORT": "http"}, "GATEWAY_PORT='http': must be a whole number from 1 to 65535"),
        ({"GATEWAY_ADMIN_PORT": "70000"}, "GATEWAY_ADMIN_PORT='70000': must be a whole number"),
        ({"GATEWAY_AUTHORIZE_PORT": "0"}, "GATEWAY_AUTHORIZE_PORT='0': must be a whole number"),
        ({"GATEWAY_ADMIN_HOST": "192.0.2.1"}, "Cannot listen on 192.0.2.1:"),
        ({"GATEWAY_WATCH_SECONDS": "-1"}, "GATEWAY_WATCH_SECONDS='-1': must be a number"),
        (
            {"GATEWAY_VALKEY_URL_FILE": "/nowhere"},
            "GATEWAY_VALKEY_URL_FILE='/nowhere': cannot be read: No such file",
        ),
        (
            {"GATEWAY_VALKEY_URL_FILE": "/proc/sys/kernel/ostype"},
            "GATEWAY_VALKEY_URL_FILE='/proc/sys/kernel/ostype': the URL in this file must be "
            "valkey://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or valkeys:// for TLS",
        ),
        ({"GATEWAY_VALKEY_PREFIX": "a b"}, "GATEWAY_VALKEY_PREFIX='a b': must contain 1 to 128"),
        (
            {"GATEWAY_VALKEY_UNREACHABLE": "reject"},
            "GATEWAY_VALKEY_UNREACHABLE='reject': must be one of own-limits, no-limits",
        ),
        (
            {"GATEWAY_CONFIG": "/nowhere/gateway.json"},
            "/nowhere/gateway.json: Cannot read the gateway configuration: No such file",
        ),
        ({"GATEWAY_STATE_DIR": "/nowhere"}, "GATEWAY_STATE_DIR='/nowhere': is not a directory"),
        (
            {"GATEWAY_TOKEN_FILE": "/nowhere"},
            "/nowhere: The token file cannot be read: No such file",
        ),
        ({"GATEWAY_GRACE_SECONDS": "soon"}, "GATEWAY_GRACE_SECONDS='soon': must be a number"),
        ({"GATEWAY_LOG_LEVEL": "loud"}, "GATEWAY_LOG_LEVEL='loud': must be one of debug"),
    ],
)
def test_invalid_setting_prevents_start(
    gateway: GatewayProcess, environment: dict[str, str], message: str
) -> None:
    gateway.environment |= environment
    gateway.write_config(build_config())
    gateway.spawn()
    assert gateway.wait_for_exit() == 2
    assert message in gateway.read_log()
    assert len(gateway.read_log().splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", json.dumps(build_config(clients=None)).encode()])
def test_invalid_configuration_prevents_start(gateway: GatewayProcess, content: bytes) -> None:
    gateway.is_forked = False
    gateway.write_config(content)
    gateway.spawn()
    assert gateway.wait_for_exit() == 2
    assert "gateway.json: " in gateway.read_log()
    assert len(gateway.read_log().splitlines()) == 1


@pytest.mark.parametrize(
    "variable", ["GATEWAY_PORT", "GATEWAY_AUTHORIZE_PORT", "GATEWAY_ADMIN_PORT"]
)
def test_port_in_use_prevents_start(gateway: GatewayProcess, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway.environment[variable] = str(port)
        gateway.write_config(build_config())
        gateway.spawn()
        assert gateway.wait_for_exit() == 4
    assert f"Port {port} on 127.0.0.1 is in use" in gateway.read_log()
    assert len(gateway.read_log().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_gateway_exits_with_0(gateway: GatewayProcess, number: signal.Signals) -> None:
    gateway.is_forked = False
    gateway.start(build_config())
    with gateway.client() as http:
        assert http.get("/v2").status_code == 200
        os.kill(gateway.pid, number)
        assert gateway.wait_for_exit() == 0
    [line] = gateway.read_log().splitlines()
    assert f"Listening on 127.0.0.1:{gateway.port}" in json.loads(line)["message"]


def test_restarted_gateway_can_use_same_ports(gateway: GatewayProcess) -> None:
    for _ in range(2):
        gateway.start(build_config())
        with gateway.client() as http:
            assert http.get("/v2").status_code == 200
        assert gateway.stop() == 0


def test_drain_finishes_requests_in_flight_and_accepts_no_connection(
    gateway: GatewayProcess, berth_1: FakeBerth
) -> None:
    received, resume = threading.Event(), threading.Event()

    def respond_later(handler: Handler, request: RecordedRequest) -> None:
        received.set()
        resume.wait(20)
        respond_ok(handler, request)

    berth_1.respond = respond_later
    gateway.start(build_digits_config(berth_1))
    responses: list[httpx.Response] = []

    def send_request() -> None:
        with gateway.client() as http:
            responses.append(http.post(INFER, json={}))

    thread = threading.Thread(target=send_request)
    thread.start()
    assert received.wait(20)
    gateway.terminate()
    wait_until(lambda: gateway.get_admin("/healthz").json()["ready"] is False, "not ready")
    wait_until(lambda: not _accepts_connection(gateway.port), "no new connection accepted")
    resume.set()
    thread.join()
    assert [response.status_code for response in responses] == [200]
    assert responses[0].headers["connection"] == "close"
    assert gateway.wait_for_exit() == 0


def test_drain_ends_after_grace_period(gateway: GatewayProcess, berth_1: FakeBerth) -> None:
    received, finish = threading.Event(), threading.Event()

    def stall(handler: Handler, _: RecordedRequest) -> None:
        received.set()
        finish.wait(20)
        handler.disconnect()

    berth_1.respond = stall
    gateway.environment["GATEWAY_GRACE_SECONDS"] = "2"
    gateway.start(build_digits_config(berth_1))
    failures: list[str] = []

    def send_request() -> None:
        with gateway.client() as http:
            try:
                http.post(INFER, json={}).raise_for_status()
            except httpx.HTTPError as error:
                failures.append(type(error).__name__)

    thread = threading.Thread(target=send_request)
    thread.start()
    assert received.wait(20)
    gateway.terminate()
    assert gateway.wait_for_exit() == 0
    finish.set()
    thread.join()
    assert len(failures) == 1


def _accepts_connection(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
