"""Table: what is taken, and what each refusal says."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.table import TableError, parse_table
from tests.gateway.gateway_process import client, model, table

URL = "http://127.0.0.1:41001"


def text(**changes: Any) -> bytes:
    return json.dumps(table(**changes)).encode()


def digits(**changes: Any) -> bytes:
    return text(models={"digits": {**model({"1": URL, "2": URL}, {"1": 90, "2": 10}), **changes}})


def test_whole_numbers_may_be_written_as_floats() -> None:
    read = parse_table(
        text(
            max_body_bytes=1024.0,
            timeout_seconds=30.0,
            clients=[
                client(rate_per_second=0.5, burst=50.0, quota={"requests": 1e5, "period": "day"})
            ],
            models={"digits": model({"1": URL, "2": URL}, {"1": 90.0, "2": 10.0})},  # type: ignore[dict-item]
        )
    )
    assert read.max_body_bytes == 1024
    assert read.clients[0].burst == 50
    assert read.clients[0].rate_per_second == 0.5
    assert read.clients[0].quota is not None
    assert read.clients[0].quota.requests == 100_000
    assert read.models["digits"].traffic == {"1": 90, "2": 10}


def test_a_table_without_models_or_clients_is_one() -> None:
    assert parse_table(text(clients=[], models={})).models == {}


@pytest.mark.parametrize(
    ("content", "says"),
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
        (text(clients=[client(), client()]), "default is there twice"),
        (text(clients=[client("a"), client("b")]), "a and b have the same key"),
        (text(clients=[client(key_sha256=["plain key"])]), "key_sha256"),
        (text(clients=[client(key_sha256=[])]), "key_sha256"),
        (text(clients=[client(rate_per_second=0)]), "rate_per_second"),
        (text(clients=[client(burst=0)]), "burst"),
        (text(clients=[client("white space")]), "name"),
        (text(clients=[client(quota={"requests": 1, "period": "year"})]), "period"),
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
def test_what_is_wrong_is_said(content: bytes, says: str) -> None:
    with pytest.raises(TableError) as error:
        parse_table(content)
    assert says in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.sampled_from(["max_body_bytes", "timeout_seconds", "clients", "models"]), json_values)
def test_no_content_fails_in_another_way(field: str, value: Any) -> None:
    with contextlib.suppress(TableError):
        parse_table(text(**{field: value}))


@given(st.binary())
def test_no_bytes_fail_in_another_way(content: bytes) -> None:
    with pytest.raises(TableError):
        parse_table(content)
