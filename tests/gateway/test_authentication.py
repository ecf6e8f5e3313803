"""Keys that expire, models that a client may call, and blocks, over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import (
    KEY,
    NO_TLS,
    GatewayProcess,
    build_client,
    build_config,
    build_key,
    build_model,
    find_free_ports,
)

INFER = "/v2/models/digits/infer"
NEVER_ENDING: dict[str, Any] = {
    "rejections": 3,
    "invalid_keys": 3,
    "window_seconds": 3600,
    "first_seconds": 600,
    "max_seconds": 86400,
}
SLOW: dict[str, Any] = {"rate_per_second": 0.001, "burst": 1}


def after(seconds: float) -> str:
    """Return the time in so many seconds, as the configuration has it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def get_status(gateway: GatewayProcess, key: str, path: str = "/v2") -> int:
    with gateway.client(key) as http:
        return http.get(path).status_code


def test_expired_key_is_rejected_with_its_name_and_other_key_is_not(
    gateway: GatewayProcess,
) -> None:
    keys = [
        build_key("old", "old", after(-1)),
        build_key("new", "new", after(3600)),
        build_key("always", "always"),
    ]
    gateway.start(build_config(clients=[build_client(keys=keys)], blocking=NEVER_ENDING))
    for _ in range(5):  # An expired key is no guess, so that its address is not blocked.
        with gateway.client("old") as http:
            response = http.get("/v2")
        assert response.status_code == 401
        assert "Key 'old' of client 'default' expired at 20" in response.json()["error"]
    assert get_status(gateway, "new") == 200
    assert get_status(gateway, "always") == 200


@pytest.mark.parametrize("path", ["", "/ready", "/infer", "/versions/1", "/versions/1/infer"])
def test_model_that_client_may_not_call_looks_missing(
    gateway: GatewayProcess, berth_1: FakeBerth, path: str
) -> None:
    model = build_model({"1": berth_1.url}, {"1": 100})
    gateway.start(
        build_config(
            clients=[
                build_client("some", "some key", models=["digits"]),
                build_client("none", "no key", models=[]),
            ],
            models={"digits": model, "iris": model},
        )
    )
    method = "POST" if path.endswith("infer") else "GET"
    with gateway.client("some key") as http:
        forbidden = http.request(method, f"/v2/models/iris{path}", content=b"{}")
        missing = http.request(method, f"/v2/models/none{path}", content=b"{}")
        allowed = http.request(method, f"/v2/models/digits{path}", content=b"{}")
    assert forbidden.status_code == missing.status_code == 404
    assert forbidden.json()["error"].replace("iris", "none") == missing.json()["error"]
    assert allowed.status_code == 200
    with gateway.client("no key") as http:
        response = http.request(method, f"/v2/models/digits{path}", content=b"{}")
    assert response.status_code == 404
    assert "Exposed models: none" in response.json()["error"]


def test_client_that_keeps_exceeding_limits_is_blocked_and_others_are_not(
    gateway: GatewayProcess,
) -> None:
    clients = [build_client(**SLOW), build_client("other", "other key")]
    gateway.start(build_config(clients=clients, blocking=NEVER_ENDING))
    with gateway.client() as http:
        responses = [http.get("/v2") for _ in range(5)]
    assert [response.status_code for response in responses] == [200, 429, 429, 429, 429]
    assert "exceeded its rate limit" in responses[3].json()["error"]
    assert "is blocked" in responses[4].json()["error"]
    assert 590 <= int(responses[4].headers["retry-after"]) <= 600
    assert get_status(gateway, "other key") == 200
    # More tokens do not end the block.
    gateway.reload(build_config(clients=[build_client(), clients[1]], blocking=NEVER_ENDING))
    assert get_status(gateway, KEY) == 429
    assert gateway.get_metric('berth_gateway_client_blocks_total{client="default"}') == 1
    assert gateway.get_metric('berth_gateway_blocked{kind="client"}') == 1
    rejected = 'berth_gateway_rejected_total{client="default",reason="blocked"}'
    assert gateway.get_metric(rejected) == 2
    assert "Client 'default' is blocked for 600 s" in gateway.read_log()
    # A configuration that blocks nobody does.
    gateway.reload(build_config(clients=[build_client(), clients[1]]))
    assert get_status(gateway, KEY) == 200


def test_address_that_guesses_keys_is_blocked_and_known_client_is_not(
    gateway: GatewayProcess,
) -> None:
    clients = [build_client(), build_client("late", "late key")]
    gateway.start(build_config(clients=clients, blocking=NEVER_ENDING))
    assert get_status(gateway, KEY) == 200
    assert [get_status(gateway, f"guess {n}") for n in range(5)] == [401, 401, 401, 429, 429]
    # A right guess after wrong ones is not let in; a client that was there before is.
    assert get_status(gateway, "late key") == 429
    assert get_status(gateway, KEY) == 200
    assert gateway.get_metric("berth_gateway_address_blocks_total") == 1
    assert gateway.get_metric('berth_gateway_blocked{kind="address"}') == 1
    rejected = 'berth_gateway_rejected_total{client="",reason="address_blocked"}'
    assert gateway.get_metric(rejected) == 3
    log = gateway.read_log()
    assert "Address 127.0.0.1 is blocked for 600 s" in log
    assert "guess" not in log
    gateway.reload(build_config(clients=clients))
    assert get_status(gateway, "late key") == 200


def test_missing_key_is_no_guess(gateway: GatewayProcess) -> None:
    gateway.start(build_config(blocking=NEVER_ENDING))
    with gateway.client(None) as http:
        assert {http.get("/v2").status_code for _ in range(6)} == {401}


def test_client_cannot_choose_address_without_ingress_controller(gateway: GatewayProcess) -> None:
    gateway.start(build_config(blocking=NEVER_ENDING))
    with gateway.client("guess") as http:
        statuses = [
            http.get("/v2", headers={"x-forwarded-for": f"192.0.2.{n}"}).status_code
            for n in range(4)
        ]
    assert statuses == [401, 401, 401, 429]


@pytest.mark.parametrize("port", ["public", "authorize"])
def test_address_behind_ingress_controller_is_last_forwarded_one(
    gateway: GatewayProcess, port: str
) -> None:
    [authorize_port] = find_free_ports(1)
    gateway.environment |= {
        "GATEWAY_AUTHORIZE_PORT": str(authorize_port),
        "GATEWAY_TRUST_FORWARDED_FOR": "1",
    }
    gateway.start(build_config(blocking=NEVER_ENDING))
    url = gateway.url if port == "public" else f"http://127.0.0.1:{authorize_port}"

    def send(key: str, *forwarded_for: str) -> int:
        return httpx.get(
            f"{url}/v2",
            headers=[
                ("x-api-key", key),
                ("x-forwarded-method", "GET"),
                ("x-forwarded-uri", "/v2"),
                *(("x-forwarded-for", value) for value in forwarded_for),
            ],
            verify=NO_TLS,
        ).status_code

    passed = 200 if port == "public" else 404  # Only inference requests are authorized.
    # The client wrote the first addresses, the ingress controller the last.
    guesses = [send("guess", f"203.0.113.{n}, 192.0.2.7") for n in range(2)]
    guesses += [send("guess", "203.0.113.1", "192.0.2.7"), send("guess", "192.0.2.7")]
    assert guesses == [401, 401, 401, 429]
    assert send(KEY, "192.0.2.7, 192.0.2.8") == passed
    assert send(KEY, "192.0.2.7") == 429
