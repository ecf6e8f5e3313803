"""Returned headers, and the version that each answer tells."""

import socket

import pytest

from tests.serving.berth import Berth
from tests.serving.test_protocol import REQUEST

INFER = "/v2/models/m/infer"
ASKED = {
    "x-berth-return-ratelimit-limit": "50",
    "x-berth-return-ratelimit-remaining": "49",
    "x-berth-return-ratelimit-reset": "0",
    "x-berth-return-x-request-id": "r-1",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", INFER, 200),
        ("POST", "/v2/models/m/versions/1/infer", 200),
        ("GET", INFER, 405),
        ("GET", "/v2/models/m/ready", 200),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2", 200),
    ],
)
def test_what_the_request_asks_for_is_on_the_answer(
    berth: Berth, method: str, path: str, status: int
) -> None:
    answer = berth.client.request(method, path, json=REQUEST, headers=ASKED)
    assert answer.status_code == status
    for name, value in ASKED.items():
        assert answer.headers.get_list(name.removeprefix("x-berth-return-")) == [value]
        assert name not in answer.headers


def test_also_on_a_refusal(berth: Berth) -> None:
    answer = berth.infer(b"{", headers=ASKED)
    assert answer.status_code == 400
    assert answer.headers["ratelimit-remaining"] == "49"
    assert answer.headers["x-request-id"] == "r-1"


def test_each_by_itself(berth: Berth) -> None:
    answer = berth.infer(
        REQUEST,
        headers={"x-request-id": "own", "x-berth-return-ratelimit-limit": "7"},
    )
    assert answer.headers["ratelimit-limit"] == "7"
    assert "ratelimit-reset" not in answer.headers
    assert answer.headers.get_list("x-request-id") == ["own"]


def test_nothing_else_comes_back(berth: Berth) -> None:
    names = ("set-cookie", "date", "content-length", "content-type", "x-berth-version")
    answer = berth.infer(REQUEST, headers={f"x-berth-return-{name}": "9" for name in names})
    assert not {"set-cookie", "date"} & set(answer.headers)
    for name in names[2:]:
        assert len(answer.headers.get_list(name)) == 1
        assert answer.headers[name] != "9"


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"a\tb", b"gr\xc3\xbc\xc3\x9fe", b"\x80"])
def test_a_value_that_is_not_short_printable_ascii_is_left_out(berth: Berth, value: bytes) -> None:
    head = b"GET /v2/models/m HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    head += b"x-request-id: own\r\nx-berth-return-x-request-id: " + value + b"\r\n"
    head += b"x-berth-return-ratelimit-limit: " + value + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", berth.port), timeout=20) as connection:
        connection.sendall(head)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert b"\r\nx-request-id: own\r\n" in answer
    assert b"ratelimit-limit" not in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", INFER),
        ("GET", "/v2/models/m"),
        ("HEAD", "/v2/models/m/versions/1/ready"),
        ("GET", "/v2/models/m/versions/2"),
        ("DELETE", INFER),
    ],
)
def test_the_version_is_on_each_answer_about_a_model(berth: Berth, method: str, path: str) -> None:
    answer = berth.client.request(method, path, json=REQUEST)
    assert answer.headers.get_list("x-berth-version") == ["1"]
    assert berth.infer(b"{").headers["x-berth-version"] == "1"


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/metrics", "/docs"])
def test_elsewhere_there_is_no_version(berth: Berth, path: str) -> None:
    assert "x-berth-version" not in berth.client.get(path).headers
