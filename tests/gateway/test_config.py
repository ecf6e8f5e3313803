"""Table: what is taken, and what each refusal message."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import ConfigError, parse_config
from tests.gateway.gateway_process import build_client, build_config, build_model

URL = "http://127.0.0.1:41001"


def text(**changes: Any) -> bytes:
    return json.dumps(build_config(**changes)).encode()


def digits(**changes: Any) -> bytes:
    return text(
        models={"digits": {**build_model({"1": URL, "2": URL}, {"1": 90, "2": 10}), **changes}}
    )


def test_whole_numbers_may_be_written_as_floats() -> None:
    read = parse_config(
        text(
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
    assert read.max_body_bytes == 1024
    assert read.clients[0].burst == 50
    assert read.clients[0].rate_per_second == 0.5
    assert read.clients[0].quota is not None
    assert read.clients[0].quota.requests == 100_000
    assert read.models["digits"].traffic == {"1": 90, "2": 10}


def test_a_table_without_models_or_clients_is_one() -> None:
    assert parse_config(text(clients=[], models={})).models == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "nested too deeply"),
        (text(extra=1), "unknown field `extra`"),
        (text(max_body_bytes=0.5), "int"),
        (text(max_body_bytes=0), ">= 1"),
        (text(timeout_seconds=0), "> 0"),
        (text(timeout_seconds="30"), "timeout_seconds"),
        (text(clients=[build_client(), build_client()]), "default is there twice"),
        (text(clients=[build_client("a"), build_client("b")]), "a and b have the same key"),
        (text(clients=[build_client(key_sha256=["plain key"])]), "key_sha256"),
        (text(clients=[build_client(key_sha256=[])]), "key_sha256"),
        (text(clients=[build_client(rate_per_second=0)]), "rate_per_second"),
        (text(clients=[build_client(burst=0)]), "burst"),
        (text(clients=[build_client("white space")]), "name"),
        (text(clients=[build_client(quota={"requests": 1, "period": "year"})]), "period"),
        (digits(traffic={"1": 90, "2": 9}), "models.digits.traffic: the sum is 99"),
        (digits(traffic={}), "the sum is 0"),
        (digits(traffic={"1": 90, "3": 10}), "models.digits.traffic: 3 is not deployed"),
        (digits(exposed=["1"]), "2 gets 10 % but is not in exposed"),
        (digits(exposed=["1", "2", "9"]), "models.digits.exposed: 9 is not deployed"),
        (digits(shadow="9"), "models.digits.shadow: 9 is not deployed"),
        (digits(versions={"1": "127.0.0.1:80", "2": URL}), "versions"),
        (digits(versions={"1": "http://host:99999", "2": URL}), "models.digits.versions.1"),
        (digits(versions={"1": "http://host/path", "2": URL}), "versions"),
        (digits(versions={"1": "http://us er@host", "2": URL}), "versions"),
        (digits(versions={"../1": URL}), "versions"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(content)
    assert message in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.sampled_from(["max_body_bytes", "timeout_seconds", "clients", "models"]), json_values)
def test_no_content_fails_in_another_way(field: str, value: Any) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(text(**{field: value}))


@given(st.binary())
def test_no_bytes_fail_in_another_way(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_config(content)
