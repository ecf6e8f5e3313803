"""The dashboard's server and page: who can read it, and what it contains."""

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest

from berth.cli.dashboard import _bind
from berth.operations.watch.page import build_page, build_sections
from berth.operations.watch.server import ADDRESS, build_app, create_server
from berth_protocol.http_server import bind
from tests.unit.watched import build_snapshot, interrupt_rollout

PATHS = ("/", "/sections.json", "/dashboard.css", "/dashboard.js", "/dashboard.svg")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a dashboard."""
    bound = bind(ADDRESS, 0)
    port = bound.getsockname()[1]
    snapshots = [build_snapshot(seconds) for seconds in (0.0, 2.0, 4.0)]
    server = create_server(build_app(lambda: snapshots, port))
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    yield f"http://{ADDRESS}:{port}"
    server.stop(1.0)
    thread.join()
    bound.close()


@pytest.mark.parametrize("path", PATHS)
def test_path_is_served_with_headers_that_isolate_it(url: str, path: str) -> None:
    response = httpx.get(f"{url}{path}")
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert httpx.head(f"{url}{path}").content == b""


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "", "[::1]:1"])
def test_foreign_host_is_rejected(url: str, host: str) -> None:
    response = httpx.get(url, headers={"host": host})
    assert response.status_code in (400, 421)
    assert "digits" not in response.text


def test_localhost_is_accepted(url: str) -> None:
    port = url.rpartition(":")[2]
    assert httpx.get(url, headers={"host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_method_that_could_change_something_is_rejected(url: str, method: str) -> None:
    response = httpx.request(method, url)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/../Pulumi.dev.yaml", "/dashboard.py", "/x", "//etc/passwd"])
def test_other_path_is_not_found(url: str, path: str) -> None:
    assert httpx.get(f"{url}{path}").status_code == 404


def test_head_that_is_too_long_is_rejected(url: str) -> None:
    assert httpx.get(url, headers={"x-long": "a" * 70_000}).status_code == 431


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_page_has_neither_inline_code_nor_addresses_of_other_origins() -> None:
    page = build_page([build_snapshot()])
    for tag, attributes in _Elements(page).elements:
        assert tag != "style"
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "/").startswith(("/", "#"))


def test_text_of_the_stack_is_escaped() -> None:
    page = build_page([build_snapshot()])
    assert "metrics: &lt;b&gt;no answer&lt;/b&gt;" in page
    assert "<b>" not in page


def test_each_table_has_a_caption_and_each_header_a_scope() -> None:
    elements = _Elements(build_page([build_snapshot()])).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("table") == tags.count("caption") == 2
    assert all("scope" in attributes for tag, attributes in elements if tag == "th")


def test_picture_is_described_as_text() -> None:
    sections = build_sections([build_snapshot(0, 10), build_snapshot(2, 30), build_snapshot(4, 20)])
    labels = re.findall(r'role="img" aria-label="([^"]+)"', sections["plots"])
    assert len(labels) == 3
    assert "version 1: last 20, highest 30." in labels[0]
    assert "version 2: no values." in labels[0]


def test_state_that_needs_attention_is_marked_with_text() -> None:
    berths = build_sections([build_snapshot()])["berths"]
    assert "⚠ stopped" in berths
    assert "⚠ ready" not in berths


def test_page_of_a_stack_of_which_nothing_is_known_is_built() -> None:
    empty = replace(build_snapshot(), berths=(), rollouts=(), updates=(), drift=None, endpoint=None)
    page = build_page([empty])
    assert "No berths." in page
    assert "Not checked yet." in page


def test_interrupted_rollout_is_marked_with_its_commands() -> None:
    rollouts = build_sections([interrupt_rollout(build_snapshot())])["rollouts"]
    assert "⚠ digits 1 → 2: interrupted while watching" in rollouts
    assert "step 2 of 5, version 2 receives 5 % of the traffic, since 2026-" in rollouts
    assert "<code>berth rollout digits 2 -s dev --resume</code>" in rollouts
    assert "<code>berth rollout digits 2 -s dev --abort</code>" in rollouts
    assert "⚠" not in build_sections([build_snapshot()])["rollouts"]


def test_address_accepts_connections_before_the_server_runs() -> None:
    """The address is printed then, and a browser or a script opens it at once."""
    with _bind(0) as bound:
        socket.create_connection(bound.getsockname(), timeout=10).close()
