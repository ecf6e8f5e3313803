"""Tests of the checks that a cluster passes before anything is deployed to it."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.platforms.kubernetes.cluster import (
    find_required_groups,
    get_cluster_access,
    require_cluster,
)
from berth.spec import HostingSpec, SpecError

_REQUIRED_GROUPS = ["apps", "gateway.networking.k8s.io", "traefik.io"]


class _Api:
    """A cluster API with the two resources that the check reads."""

    def __init__(self) -> None:
        self.version = {"major": "1", "minor": "34+"}
        self.groups = _REQUIRED_GROUPS
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = {"/version": api.version, "/apis": {
                    "groups": [{"name": name} for name in api.groups]}}[self.path]  # fmt: skip
                body = json.dumps(content).encode()
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
    server = _Api()
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


def _kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    entries = {"clusters": ["cluster", {"server": server}], "users": ["user", {}],
             "contexts": ["context", {"cluster": "test", "user": "test"}]}  # fmt: skip
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        **{kind: [{"name": "test", key: value}] for kind, (key, value) in entries.items()},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("has_pod_metrics", [False, True])
def test_suitable_cluster_passes(api: _Api, tmp_path: Path, has_pod_metrics: bool) -> None:
    api.groups = [*_REQUIRED_GROUPS, *(["custom.metrics.k8s.io"] if has_pod_metrics else [])]
    facts = require_cluster(get_cluster_access(_kubeconfig(tmp_path, api.url), None, tmp_path))
    assert (facts.host, facts.has_pod_metrics) == ("127.0.0.1", has_pod_metrics)


def test_prometheus_operator_is_found(api: _Api, tmp_path: Path) -> None:
    access = get_cluster_access(_kubeconfig(tmp_path, api.url), None, tmp_path)
    assert require_cluster(access).has_prometheus_operator is False
    api.groups = [*_REQUIRED_GROUPS, "monitoring.coreos.com"]
    assert require_cluster(access).has_prometheus_operator is True


def test_missing_cert_manager_is_reported_only_if_it_is_needed(api: _Api, tmp_path: Path) -> None:
    access = get_cluster_access(_kubeconfig(tmp_path, api.url), None, tmp_path)
    base = {"platform": "kubernetes", "models": {"digits": {"versions": {"1": {}}}},
            "registry": {"url": "registry.example.com/berth"}}  # fmt: skip
    require_cluster(access, groups=find_required_groups(HostingSpec.model_validate(base)))
    tls = {"hostnames": ["api.example.com"], "certificate": {"issuer": "lets-encrypt"}}
    spec = HostingSpec.model_validate({**base, "kubernetes": tls})
    with pytest.raises(SpecError, match=r"cert-manager\.io; install"):
        require_cluster(access, groups=find_required_groups(spec))
    api.groups = [*_REQUIRED_GROUPS, "cert-manager.io"]
    require_cluster(access, groups=find_required_groups(spec))


def test_missing_operator_is_reported_only_if_its_rules_are_needed(
    api: _Api, tmp_path: Path
) -> None:
    access = get_cluster_access(_kubeconfig(tmp_path, api.url), None, tmp_path)
    base = {"platform": "kubernetes", "models": {"digits": {"versions": {"1": {}}}},
            "registry": {"url": "registry.example.com/berth"}}  # fmt: skip
    spec = HostingSpec.model_validate({**base, "kubernetes": {"monitoring": True}})
    with pytest.raises(
        SpecError, match=r"monitoring\.coreos\.com; install the Prometheus operator"
    ):
        require_cluster(access, groups=find_required_groups(spec))
    api.groups = [*_REQUIRED_GROUPS, "monitoring.coreos.com"]
    require_cluster(access, groups=find_required_groups(spec))


def test_all_missing_requirements_are_reported_at_once(api: _Api, tmp_path: Path) -> None:
    api.version = {"major": "1", "minor": "27"}
    api.groups = ["apps"]
    with pytest.raises(SpecError) as caught:
        require_cluster(get_cluster_access(_kubeconfig(tmp_path, api.url), None, tmp_path))
    text = str(caught.value)
    assert "runs Kubernetes 1.27; upgrade it to 1.30 or newer" in text
    assert "gateway.networking.k8s.io; install" in text
    assert "traefik.io; install" in text


def test_unreachable_cluster_is_reported_with_its_address(tmp_path: Path) -> None:
    access = get_cluster_access(_kubeconfig(tmp_path, "http://127.0.0.1:1"), None, tmp_path)
    with pytest.raises(SpecError, match=r"the cluster at http://127\.0\.0\.1:1 did not respond"):
        require_cluster(access)


def test_missing_kubeconfig_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"missing-file.*kubernetes\.kubeconfig"):
        require_cluster(get_cluster_access("missing-file", None, tmp_path))


def test_missing_context_is_reported(tmp_path: Path) -> None:
    access = get_cluster_access(_kubeconfig(tmp_path, "http://127.0.0.1:1"), "other", tmp_path)
    with pytest.raises(SpecError, match="other"):
        require_cluster(access)
