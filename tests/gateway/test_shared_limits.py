"""Gateways that share their limits in Valkey, while gateways and Valkey come and go."""

import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.gateway_process import (
    KEY,
    NO_TLS,
    GatewayProcess,
    build_client,
    build_config,
    build_model,
    find_free_ports,
    wait_until,
)
from tests.gateway.valkey_server import PASSWORD, ValkeyServer, create_certificate, encrypt

BURST, QUOTA = 7, 10
COUNTED = "key c"
_CONFIG = build_config(
    clients=[
        build_client(rate_per_second=0.001, burst=BURST),
        build_client("counted", COUNTED, quota={"requests": QUOTA, "period": "month"}),
        build_client("free", "key f"),
    ],
    models={"digits": build_model({"1": "http://127.0.0.1:1"}, {"1": 100})},
)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    directory = tmp_path / "valkey"
    directory.mkdir()
    server = ValkeyServer(directory)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def start_gateway(tmp_path: Path, valkey: ValkeyServer) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways that share limits in `valkey`, each with an empty state directory."""
    gateways: list[GatewayProcess] = []

    def start(config: Any = _CONFIG, **environment: str) -> GatewayProcess:
        directory = tmp_path / f"gateway-{len(gateways)}"
        directory.mkdir()
        (directory / "url").write_text(environment.pop("url", valkey.url))
        gateway = GatewayProcess(directory)
        gateway.environment = {
            "GATEWAY_AUTHORIZE_PORT": str(find_free_ports(1)[0]),
            "GATEWAY_VALKEY_URL_FILE": str(directory / "url"),
            **environment,
        }
        gateways.append(gateway)
        gateway.start(config)
        return gateway

    yield start
    for gateway in gateways:
        gateway.kill()


def authorize(gateway: GatewayProcess, key: str = COUNTED) -> httpx.Response:
    """Authorize an inference request."""
    return httpx.get(
        f"http://127.0.0.1:{gateway.environment['GATEWAY_AUTHORIZE_PORT']}/",
        headers={
            "x-forwarded-method": "POST",
            "x-forwarded-uri": "/v2/models/digits/infer",
            "x-api-key": key,
        },
        timeout=20,
        verify=NO_TLS,
    )


def count_allowed(gateway: GatewayProcess, requests: int, key: str = COUNTED) -> int:
    """Return how many of some requests pass. All others must be rejected by a limit."""
    codes = Counter(authorize(gateway, key).status_code for _ in range(requests))
    assert set(codes) <= {200, 429}
    return codes[200]


def is_shared(gateway: GatewayProcess) -> bool:
    return gateway.get_metric("berth_gateway_limits_shared") == 1


def wait_until_shared(*gateways: GatewayProcess) -> None:
    wait_until(lambda: all(map(is_shared, gateways)), "limits shared")


def wait_until_restart_is_noticed(*gateways: GatewayProcess) -> None:
    wait_until(
        lambda: all(
            re.search("has restarted|responds again", each.read_log()) for each in gateways
        ),
        "the restart of Valkey to be noticed",
    )


@pytest.mark.parametrize(("key", "allowed"), [(KEY, BURST), (COUNTED, QUOTA)])
def test_three_gateways_together_allow_limit_of_one(
    start_gateway: Callable[..., GatewayProcess], key: str, allowed: int
) -> None:
    gateways = [start_gateway() for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        codes = Counter(
            pool.map(lambda at: authorize(gateways[at % 3], key).status_code, range(60))
        )
    assert codes == {200: allowed, 429: 60 - allowed}
    assert all(is_shared(each) for each in gateways)


@pytest.mark.parametrize(("key", "allowed"), [(KEY, BURST), (COUNTED, QUOTA)])
def test_limit_stays_exact_when_gateways_and_valkey_are_killed(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer, key: str, allowed: int
) -> None:
    first, second, third = (start_gateway() for _ in range(3))
    assert count_allowed(first, 2, key) == 2
    first.kill()
    assert count_allowed(second, 2, key) == 2
    valkey.kill()
    valkey.start()
    wait_until_restart_is_noticed(second, third)
    wait_until_shared(second, third)
    assert count_allowed(third, 2, key) == 2
    second.kill()
    fourth = start_gateway()
    wait_until_shared(fourth)
    assert count_allowed(fourth, 20, key) == allowed - 6
    assert count_allowed(third, 5, key) == 0


def test_quota_survives_loss_of_all_gateways(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    lost = [start_gateway() for _ in range(2)]
    assert [count_allowed(gateway, 3) for gateway in lost] == [3, 3]
    for gateway in lost:
        gateway.kill()
    assert count_allowed(start_gateway(), 20) == QUOTA - 6


def test_requests_counted_without_valkey_are_added_when_it_responds(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    first, second = start_gateway(), start_gateway()
    assert count_allowed(first, 4) == 4
    valkey.kill()
    assert (count_allowed(first, 2), count_allowed(second, 1)) == (2, 1)
    assert not is_shared(first)
    valkey.start()
    wait_until_shared(first, second)
    assert count_allowed(second, 20) == QUOTA - 7


def test_gateways_restore_quota_that_valkey_lost(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    gateway = start_gateway()
    assert count_allowed(gateway, 4) == 4
    valkey.kill()
    valkey.lose_data()
    assert count_allowed(gateway, 1) == 1
    valkey.start()
    wait_until_shared(gateway)
    assert count_allowed(start_gateway(), 20) == QUOTA - 5


@pytest.mark.slow
def test_gateway_without_requests_restores_what_a_restarted_valkey_lost(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    gateway = start_gateway()
    assert count_allowed(gateway, 4) == 4
    valkey.kill()
    valkey.lose_data()
    valkey.start()
    wait_until_restart_is_noticed(gateway)
    gateway.kill()
    assert count_allowed(start_gateway(), 20) == QUOTA - 4


def test_without_valkey_each_gateway_continues_from_last_known_limits(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    gateways = [start_gateway() for _ in range(2)]
    assert [count_allowed(each, 2, KEY) for each in gateways] == [2, 2]
    valkey.kill()
    # The first gateway last heard of 5 tokens, the second of 3.
    assert [count_allowed(each, 20, KEY) for each in gateways] == [5, 3]
    for each in gateways:
        assert each.get_metric("berth_gateway_own_limit_decisions_total") == 20
        assert each.read_log().count("is unreachable") == 1
        assert PASSWORD not in each.read_log()


def test_hanging_valkey_delays_requests_only_briefly(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    gateway = start_gateway()
    assert count_allowed(gateway, 1) == 1
    valkey.pause()
    started = time.monotonic()
    assert count_allowed(gateway, 8) == 8
    assert time.monotonic() - started < 5
    assert not is_shared(gateway)
    valkey.resume()
    wait_until_shared(gateway)
    assert "responds again" in gateway.read_log()


@pytest.mark.slow
def test_starting_gateway_waits_for_slow_valkey(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    assert count_allowed(start_gateway(), 6) == 6
    valkey.pause()
    resume = threading.Timer(2, valkey.resume)
    resume.start()
    try:
        assert count_allowed(start_gateway(), 20) == QUOTA - 6
    finally:
        resume.join()


@pytest.mark.slow
def test_gateway_starts_without_valkey(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    valkey.kill()
    gateway = start_gateway()
    assert count_allowed(gateway, 3) == 3
    valkey.start()
    wait_until_shared(gateway)
    assert count_allowed(start_gateway(), 20) == QUOTA - 3


@pytest.mark.slow
def test_without_limits_all_requests_pass_and_are_counted(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    gateway = start_gateway(GATEWAY_VALKEY_UNREACHABLE="no-limits")
    assert count_allowed(gateway, 20, KEY) == BURST
    valkey.kill()
    assert count_allowed(gateway, 20, KEY) == 20
    assert count_allowed(gateway, 15) == 15
    valkey.start()
    wait_until_shared(gateway)
    assert count_allowed(start_gateway(), 1) == 0


@pytest.mark.slow
def test_gateways_with_different_prefixes_do_not_share_limits(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    gateways = [start_gateway(GATEWAY_VALKEY_PREFIX=name) for name in ("dev", "prod")]
    assert [count_allowed(each, 20) for each in gateways] == [QUOTA, QUOTA]


@pytest.mark.slow
def test_wrong_password_is_logged_and_gateway_decides_by_itself(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    gateway = start_gateway(url=f"valkey://:wrong-password@127.0.0.1:{valkey.port}")
    assert count_allowed(gateway, 1) == 1
    log = gateway.read_log()
    assert f"Valkey at 127.0.0.1:{valkey.port} is unreachable" in log
    assert "invalid username-password pair" in log
    assert "wrong-password" not in log


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("issued_for", "is_connected"), [("localhost", True), ("other", False)])
def test_certificate_must_be_for_the_host_of_the_url(
    start_gateway: Callable[..., GatewayProcess],
    valkey: ValkeyServer,
    tmp_path: Path,
    issued_for: str,
    is_connected: bool,
) -> None:
    certificate, key = create_certificate(tmp_path, issued_for)
    with encrypt(valkey.port, certificate, key) as port:
        url = f"valkeys://:{PASSWORD}@localhost:{port}"
        gateway = start_gateway(url=url, SSL_CERT_FILE=str(certificate))
        assert count_allowed(gateway, 1) == 1
        assert is_shared(gateway) == is_connected
        assert ("certificate verify failed" in gateway.read_log()) != is_connected


@pytest.mark.slow
def test_responses_have_the_same_headers_as_those_of_a_single_gateway(
    start_gateway: Callable[..., GatewayProcess], gateway: GatewayProcess
) -> None:
    gateway.environment["GATEWAY_AUTHORIZE_PORT"] = str(find_free_ports(1)[0])
    gateway.start(_CONFIG)
    shared = start_gateway()

    def summarize(response: httpx.Response) -> tuple[int, dict[str, Any], bytes]:
        changing = ("date", "x-request-id", "x-berth-return-x-request-id")
        headers = {k: v for k, v in response.headers.items() if k not in changing}
        return response.status_code, headers, response.content

    for key, requests in ((KEY, BURST), (COUNTED, QUOTA)):
        for _ in range(requests + 1):
            assert summarize(authorize(shared, key)) == summarize(authorize(gateway, key))


_BLOCKING = {
    "rejections": 4,
    "invalid_keys": 4,
    "window_seconds": 600,
    "first_seconds": 600,
    "max_seconds": 600,
}
_BLOCKED = "Blocked"


def _describe(response: httpx.Response) -> int | str:
    """Return the status, or `_BLOCKED` for a client or an address that is blocked."""
    text = response.text if response.status_code == 429 else ""
    return _BLOCKED if re.search("is blocked|too many invalid keys", text) else response.status_code


def _wait_until_blocked(gateway: GatewayProcess, kind: str) -> None:
    series = f'berth_gateway_blocked{{kind="{kind}"}}'
    wait_until(lambda: gateway.get_metric(series) == 1, f"a blocked {kind}")


def test_client_that_exceeds_limits_at_two_gateways_is_blocked_at_all(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    config = _CONFIG | {"blocking": _BLOCKING}
    gateways = [start_gateway(config) for _ in range(2)]
    assert count_allowed(gateways[0], BURST, KEY) == BURST
    # Three rejections at each: fewer than what blocks at one.
    for gateway in gateways:
        assert [_describe(authorize(gateway, KEY)) for _ in range(3)] == [429] * 3
    for gateway in gateways:
        _wait_until_blocked(gateway, "client")
        assert _describe(authorize(gateway, KEY)) == _BLOCKED
        assert _describe(authorize(gateway)) == 200
        assert "Client 'default' is blocked for" in gateway.read_log()
    # A gateway that starts knows the block before its first request.
    assert _describe(authorize(start_gateway(config), KEY)) == _BLOCKED
    # One that blocks nobody ignores it, and applies the rate limit.
    lenient = start_gateway()
    assert _describe(authorize(lenient, KEY)) == 429
    assert lenient.get_metric('berth_gateway_blocked{kind="client"}') == 0


def test_address_that_guesses_at_one_gateway_is_blocked_at_all_except_for_known_clients(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    config = _CONFIG | {"blocking": _BLOCKING}
    first, second = (start_gateway(config) for _ in range(2))
    assert _describe(authorize(first, COUNTED)) == 200
    guesses = [_describe(authorize(first, f"guess {n}")) for n in range(5)]
    assert guesses == [401] * 4 + [_BLOCKED]
    _wait_until_blocked(second, "address")
    assert _describe(authorize(second, "guess")) == _BLOCKED
    # A right guess is not let in; a client that the other gateway knows there is.
    assert _describe(authorize(second, "key f")) == _BLOCKED
    assert _describe(authorize(second, COUNTED)) == 200


def test_without_valkey_each_gateway_blocks_by_itself(
    start_gateway: Callable[..., GatewayProcess], valkey: ValkeyServer
) -> None:
    config = _CONFIG | {"blocking": _BLOCKING}
    first, second = (start_gateway(config) for _ in range(2))
    valkey.kill()
    guesses = [_describe(authorize(first, f"guess {n}")) for n in range(5)]
    assert guesses == [401] * 4 + [_BLOCKED]
    assert _describe(authorize(second, "guess")) == 401
    valkey.start()
    wait_until_shared(first, second)
    assert _describe(authorize(first, "guess")) == _BLOCKED
