"""What a cluster must be, told before anything is declared for it."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.platforms.kubernetes.cluster import access_of, require_cluster
from berth.spec import SpecError

_WHOLE = ["apps", "gateway.networking.k8s.io", "traefik.io"]


class _Api:
    """Answers the two questions that are asked of a cluster's API."""

    def __init__(self) -> None:
        self.version = {"major": "1", "minor": "34+"}
        self.groups = _WHOLE
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {"/version": api.version, "/apis": {
                    "groups": [{"name": name} for name in api.groups]}}[self.path]  # fmt: skip
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[_Api]:
    found = _Api()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def _kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    named = {"clusters": ["cluster", {"server": server}], "users": ["user", {}],
             "contexts": ["context", {"cluster": "here", "user": "here"}]}  # fmt: skip
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        **{kind: [{"name": "here", key: value}] for kind, (key, value) in named.items()},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("pod_metrics", [False, True])
def test_a_cluster_with_all_it_needs(api: _Api, tmp_path: Path, pod_metrics: bool) -> None:
    api.groups = [*_WHOLE, *(["custom.metrics.k8s.io"] if pod_metrics else [])]
    facts = require_cluster(access_of(_kubeconfig(tmp_path, api.url), None, tmp_path))
    assert (facts.host, facts.pod_metrics) == ("127.0.0.1", pod_metrics)


def test_everything_that_is_missing_is_told_at_once(api: _Api, tmp_path: Path) -> None:
    api.version = {"major": "1", "minor": "27"}
    api.groups = ["apps"]
    with pytest.raises(SpecError) as caught:
        require_cluster(access_of(_kubeconfig(tmp_path, api.url), None, tmp_path))
    text = str(caught.value)
    assert "1.27; 1.30 or newer" in text
    assert "gateway.networking.k8s.io; install" in text
    assert "traefik.io; install" in text


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    access = access_of(_kubeconfig(tmp_path, "http://127.0.0.1:1"), None, tmp_path)
    with pytest.raises(SpecError, match=r"no answer from the cluster at http://127\.0\.0\.1:1"):
        require_cluster(access)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere.*kubernetes\.kubeconfig"):
        require_cluster(access_of("nowhere", None, tmp_path))


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    access = access_of(_kubeconfig(tmp_path, "http://127.0.0.1:1"), "other", tmp_path)
    with pytest.raises(SpecError, match="other"):
        require_cluster(access)
