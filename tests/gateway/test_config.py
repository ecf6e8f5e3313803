"""The gateway configuration: accepted values, and the message of each rejection."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import ConfigError, parse_config
from tests.gateway.gateway_process import build_client, build_config, build_key, build_model

URL = "http://127.0.0.1:41001"
JWT = {
    "issuer": "https://issuer.example",
    "audience": "berth",
    "client_claim": "sub",
    "jwks": {"keys": []},
}
BLOCKING = {
    "rejections": 10,
    "invalid_keys": 10,
    "window_seconds": 60,
    "first_seconds": 10,
    "max_seconds": 3600,
}


def encode(**changes: Any) -> bytes:
    return json.dumps(build_config(**changes)).encode()


def encode_digits(**changes: Any) -> bytes:
    return encode(
        models={"digits": {**build_model({"1": URL, "2": URL}, {"1": 90, "2": 10}), **changes}}
    )


def test_whole_numbers_can_be_floats() -> None:
    config = parse_config(
        encode(
            max_body_bytes=1024.0,
            timeout_seconds=30.0,
            clients=[
                build_client(
                    rate_per_second=0.5, burst=50.0, quota={"requests": 1e5, "period": "day"}
                )
            ],
            models={"digits": build_model({"1": URL, "2": URL}, {"1": 90.0, "2": 10.0})},  # type: ignore[dict-item]
        )
    )
    assert config.max_body_bytes == 1024
    assert config.clients[0].burst == 50
    assert config.clients[0].rate_per_second == 0.5
    assert config.clients[0].quota is not None
    assert config.clients[0].quota.requests == 100_000
    assert config.models["digits"].traffic == {"1": 90, "2": 10}


def test_configuration_without_models_and_clients_is_valid() -> None:
    assert parse_config(encode(clients=[], models={})).models == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "nested too deeply"),
        (encode(extra=1), "unknown field `extra`"),
        (encode(max_body_bytes=0.5), "int"),
        (encode(max_body_bytes=0), ">= 1"),
        (encode(timeout_seconds=0), "> 0"),
        (encode(timeout_seconds="30"), "timeout_seconds"),
        (encode(clients=[build_client(), build_client()]), "'default' is defined twice"),
        (
            encode(clients=[build_client("a"), build_client("b")]),
            "'a' and 'b' have the same API key",
        ),
        (encode(clients=[build_client(keys=[build_key() | {"sha256": "plain key"}])]), "sha256"),
        (encode(clients=[build_client(keys=[])]), "neither keys nor subjects"),
        (encode(clients=[build_client(keys=[build_key(), build_key()])]), "the same API key"),
        (encode(clients=[build_client(keys=[build_key(expires="2027-01-01")])]), "expires"),
        (
            encode(clients=[build_client(keys=[build_key(expires="2027-01-01T00:00:00")])]),
            "expires",
        ),
        (encode(clients=[build_client(subjects=["a"])]), "jwt is missing"),
        (encode(jwt=JWT | {"jwks": None}), "one of jwks_url and jwks"),
        (encode(jwt=JWT | {"jwks_url": "https://issuer.example/keys"}), "one of jwks_url and jwks"),
        (
            encode(
                jwt=JWT,
                clients=[
                    build_client("a", "1", subjects=["x"]),
                    build_client("b", "2", subjects=["x"]),
                ],
            ),
            "the same subject",
        ),
        (encode(blocking=BLOCKING | {"rejections": 0}), "rejections"),
        (encode(blocking=BLOCKING | {"first_seconds": 0}), "first_seconds"),
        (encode(clients=[build_client(rate_per_second=0)]), "rate_per_second"),
        (encode(clients=[build_client(burst=0)]), "burst"),
        (encode(clients=[build_client("white space")]), "name"),
        (encode(clients=[build_client(quota={"requests": 1, "period": "year"})]), "period"),
        (
            encode_digits(traffic={"1": 90, "2": 9}),
            "models.digits.traffic: percentages must add up to 100, got 99",
        ),
        (encode_digits(traffic={}), "got 0"),
        (
            encode_digits(traffic={"1": 90, "3": 10}),
            "models.digits.traffic: version 3 is not deployed",
        ),
        (encode_digits(exposed=["1"]), "version 2 gets 10 % but is not exposed"),
        (
            encode_digits(exposed=["1", "2", "9"]),
            "models.digits.exposed: version 9 is not deployed",
        ),
        (encode_digits(shadow="9"), "models.digits.shadow: version 9 is not deployed"),
        (encode_digits(versions={"1": "127.0.0.1:80", "2": URL}), "versions"),
        (encode_digits(versions={"1": "http://host:99999", "2": URL}), "models.digits.versions.1"),
        (encode_digits(versions={"1": "http://host/path", "2": URL}), "versions"),
        (encode_digits(versions={"1": "http://us er@host", "2": URL}), "versions"),
        (encode_digits(versions={"../1": URL}), "versions"),
    ],
)
def test_invalid_configuration_is_rejected_with_reason(content: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(content)
    assert message in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.slow
@given(st.sampled_from(["max_body_bytes", "timeout_seconds", "clients", "models"]), json_values)
def test_any_json_value_is_accepted_or_rejected_with_config_error(field: str, value: Any) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(encode(**{field: value}))


@given(st.binary())
def test_random_bytes_are_rejected_with_config_error(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_config(content)
