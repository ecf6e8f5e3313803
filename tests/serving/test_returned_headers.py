"""Headers that a berth returns for an ingress controller, and the version header."""

import pytest

from tests.serving.berth import Berth
from tests.serving.test_protocol import REQUEST

INFER = "/v2/models/m/infer"
RETURN_HEADERS = {
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
def test_response_returns_requested_headers(
    berth: Berth, method: str, path: str, status: int
) -> None:
    response = berth.client.request(method, path, json=REQUEST, headers=RETURN_HEADERS)
    assert response.status_code == status
    for name, value in RETURN_HEADERS.items():
        assert response.headers.get_list(name.removeprefix("x-berth-return-")) == [value]
        assert name not in response.headers


def test_error_response_returns_requested_headers(berth: Berth) -> None:
    response = berth.infer(b"{", headers=RETURN_HEADERS)
    assert response.status_code == 400
    assert response.headers["ratelimit-remaining"] == "49"
    assert response.headers["x-request-id"] == "r-1"


def test_each_header_is_returned_independently(berth: Berth) -> None:
    response = berth.infer(
        REQUEST,
        headers={"x-request-id": "own", "x-berth-return-ratelimit-limit": "7"},
    )
    assert response.headers["ratelimit-limit"] == "7"
    assert "ratelimit-reset" not in response.headers
    assert response.headers.get_list("x-request-id") == ["own"]


def test_other_headers_are_not_returned(berth: Berth) -> None:
    names = ("set-cookie", "date", "content-length", "content-type", "x-berth-version")
    response = berth.infer(REQUEST, headers={f"x-berth-return-{name}": "9" for name in names})
    assert not {"set-cookie", "date"} & set(response.headers)
    for name in names[2:]:
        assert len(response.headers.get_list(name)) == 1
        assert response.headers[name] != "9"


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"a\tb", b"gr\xc3\xbc\xc3\x9fe", b"\x80"])
def test_value_that_is_not_short_printable_ascii_is_ignored(berth: Berth, value: bytes) -> None:
    head = b"GET /v2/models/m HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    head += b"x-request-id: own\r\nx-berth-return-x-request-id: " + value + b"\r\n"
    head += b"x-berth-return-ratelimit-limit: " + value + b"\r\n\r\n"
    with berth.connect() as connection:
        connection.sendall(head)
        response = b""
        while part := connection.recv(65536):
            response += part
    assert b"\r\nx-request-id: own\r\n" in response
    assert b"ratelimit-limit" not in response


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
def test_response_about_model_has_version(berth: Berth, method: str, path: str) -> None:
    response = berth.client.request(method, path, json=REQUEST)
    assert response.headers.get_list("x-berth-version") == ["1"]
    assert berth.infer(b"{").headers["x-berth-version"] == "1"


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/metrics", "/docs"])
def test_response_about_server_has_no_version(berth: Berth, path: str) -> None:
    assert "x-berth-version" not in berth.client.get(path).headers
