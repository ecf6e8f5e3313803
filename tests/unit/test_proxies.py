"""Proxies of the environment are not used for this machine, and stay in use for others."""

import os
import socket
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth.engine import Engine
from berth.operations.invoke import Request, invoke
from pulumi_berth.proxies import exclude_loopback, is_loopback

_DEAD_PROXY = "http://127.0.0.1:9"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_HOSTS = "localhost,127.0.0.1,::1"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    # Set through monkeypatch, so that it removes what a command adds.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"http_proxy": "p"}, _HOSTS),
        ({"HTTPS_PROXY": "p"}, _HOSTS),
        ({"ALL_PROXY": "p"}, _HOSTS),
        ({"grpc_proxy": "p", "no_proxy": "a.example, b"}, f"a.example,b,{_HOSTS}"),
        ({"http_proxy": "p", "NO_PROXY": "a"}, f"a,{_HOSTS}"),
        ({"http_proxy": "p", "no_proxy": "a", "NO_PROXY": "b"}, f"a,b,{_HOSTS}"),
        ({"http_proxy": "p", "no_proxy": "127.0.0.1"}, "127.0.0.1,localhost,::1"),
        ({"http_proxy": "p", "no_proxy": "*"}, f"*,{_HOSTS}"),
    ],
)
def test_loopback_is_added_to_hosts_without_proxy(
    environment: dict[str, str], expected: str
) -> None:
    original = dict(environment)
    exclude_loopback(environment)
    assert environment == original | {"no_proxy": expected, "NO_PROXY": expected}
    again = dict(environment)
    exclude_loopback(again)
    assert again == environment


def test_environment_without_proxy_is_unchanged() -> None:
    environment = {"no_proxy": "a", "http_proxy": ""}
    exclude_loopback(environment)
    assert environment == {"no_proxy": "a", "http_proxy": ""}


def test_loopback_is_added_to_hosts_of_grpc() -> None:
    environment = {"http_proxy": "p", "no_grpc_proxy": "a"}
    exclude_loopback(environment)
    assert environment["no_grpc_proxy"] == f"a,{_HOSTS}"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("registry.localhost:5000", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("registry.example.com", False),
    ],
)
def test_loopback_hosts_are_recognized(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_engine_and_commands_get_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", _DEAD_PROXY)
    environment = Engine(tmp_path / "engine", "3.259.0").environment(tmp_path)
    assert environment["no_proxy"] == environment["NO_PROXY"] == _HOSTS
    assert environment["http_proxy"] == _DEAD_PROXY
    CliRunner().invoke(main, ["init", "--help"])
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == _HOSTS


@pytest.mark.parametrize("proxy", [_DEAD_PROXY, "socks5://127.0.0.1:9", "unknown://x"])
@pytest.mark.parametrize("size", [10, 5_000_000])
def test_invoke_without_proxy_returns_error_that_precedes_end_of_body(
    monkeypatch: pytest.MonkeyPatch, proxy: str, size: int
) -> None:
    """The server closes its connection without reading, as an ingress controller may."""
    for name in _PROXIES:
        monkeypatch.setenv(name, proxy)
    body = b'{"error":"too long"}'
    head = b"HTTP/1.1 413 x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(head % len(body) + body)

        thread = threading.Thread(target=respond)
        thread.start()
        port = listener.getsockname()[1]
        outputs = {"endpoint": f"http://127.0.0.1:{port}", "api_keys": {"default": "k"}}
        response = invoke(outputs, "m", Request(b"x" * size))
        thread.join()
    assert (response.status, response.body) == (413, {"error": "too long"})
