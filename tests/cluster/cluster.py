"""A real Kubernetes cluster on this machine, which all workers of a test run share."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_berth.oci.registry import Repository

_START_SECONDS = 180
_KUBECTL_SECONDS = 180
_PROGRAMS = ("containerd", "runc", "docker-registry", "iptables", "conntrack", "openssl", "ip")


def find_missing_requirement() -> str | None:
    """Return why this machine cannot start a cluster, or None if it can."""
    if shutil.which("cluster") is None:
        return "the tool `cluster`, which starts a real Kubernetes cluster, is not on the PATH"
    if os.geteuid() != 0:
        return "starting a cluster requires root"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_search_path()) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        state_dir: Directory of the cluster's state.
        registry: `host:port` of its registry, which serves plain HTTP.
        node: Address of its node.
    """

    state_dir: Path
    registry: str
    node: str

    @property
    def host(self) -> str:
        """Address of this machine in the network of the node."""
        return f"{self.node.rpartition('.')[0]}.1"

    def redirect_registry(self, registry: str, address: str) -> None:
        """Let the node pull images of `registry` from `address`, without TLS."""
        directory = self.state_dir / "conf" / "registries" / registry
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(
            f'server = "http://{address}"\n[host."http://{address}"]\n'
            '  capabilities = ["pull", "resolve"]\n'
        )

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig"

    @property
    def traefik_image(self) -> str:
        """Image of the ingress controller in the cluster's registry."""
        return self.pin_image("traefik:v3.6")

    def pin_image(self, image: str) -> str:
        """Return the image `name:tag` of the cluster's registry by its digest."""
        name, _, tag = image.partition(":")
        repository = Repository(name=f"{self.registry}/{name}", plain_http=True)
        return f"{repository.name}@{repository.digest_of(tag)}"

    def kubectl(self, *arguments: str, stdin: str | None = None, code: int | None = 0) -> str:
        """Run `kubectl ARGUMENTS` and return its output.

        Args:
            code: Expected exit status. If None, any status is accepted.
        """
        process = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin, capture_output=True, text=True, timeout=_KUBECTL_SECONDS, check=False,
        )  # fmt: skip
        output = process.stdout + process.stderr
        assert code in (None, process.returncode), f"kubectl {arguments}: {output}"
        return process.stdout + (process.stderr if code != 0 else "")

    def get(self, *arguments: str) -> Any:
        """Run `kubectl get ARGUMENTS` and return the parsed JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def list_names(self, *arguments: str) -> list[str]:
        """Run `kubectl get ARGUMENTS` and return the names of the resources."""
        return [item["metadata"]["name"] for item in self.get(*arguments)["items"]]

    def wait_for(self, *arguments: str, seconds: float) -> None:
        """Wait with `kubectl wait ARGUMENTS`, which watches the resources instead of polling."""
        self.kubectl("wait", *arguments, f"--timeout={seconds:g}s")

    def wait_for_deletion(self, pods: Iterable[str], namespace: str, *, seconds: float) -> None:
        """Wait until pods no longer exist."""
        if names := [f"pod/{name}" for name in pods]:
            self.wait_for("-n", namespace, "--for=delete", *names, seconds=seconds)

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Create or update resources."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(content))

    def delete_namespaces(self, *namespaces: str) -> None:
        """Start deleting namespaces, to free capacity for the next tests' pods."""
        self.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false")

    def add_fake_nodes(self, *arguments: str) -> None:
        """Run `cluster nodes ARGUMENTS`, which adds fake nodes."""
        _run_tool(self.state_dir, "nodes", *arguments)

    def stop(self) -> None:
        """Stop the cluster and remove its files.

        The tool ends all programs and then removes the directory, to which the last of them may
        still write. The removal is repeated once.
        """
        try:
            _run_tool(self.state_dir, "down")
        except AssertionError:
            if (self.state_dir / "node.pid").exists():
                raise
            time.sleep(2)
            shutil.rmtree(self.state_dir)


def poll(condition: Callable[[], Any], *, seconds: float) -> Any:
    """Return the first true value of `condition()`, or fail after the time limit.

    A condition runs kubectl, which uses CPU time that the pods need. It is therefore checked only
    once per second. Use `Cluster.wait_for` where kubectl can watch for the condition.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}"
        time.sleep(1)
    return value


def start_cluster(state_dir: Path, *arguments: str, name: str, net: str) -> Cluster:
    """Run `cluster up ARGUMENTS`.

    Args:
        name: Name of the cluster, of at most 12 characters. Clusters on one machine differ in it.
        net: First two numbers of the cluster's addresses.
    """
    _run_tool(state_dir, "up", *arguments, CLUSTER_NAME=name, CLUSTER_NET=net)
    return Cluster(state_dir, registry=f"{net}.0.2:5000", node=f"{net}.0.2")


def _search_path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def _run_tool(state_dir: Path, *arguments: str, **settings: str) -> None:
    """Run the tool. The state of a running cluster contains the cluster's name and network."""
    environment = os.environ | {"CLUSTER_DIR": str(state_dir), "PATH": _search_path()} | settings
    process = subprocess.run(
        ["cluster", *arguments], env=environment, capture_output=True, text=True,
        timeout=_START_SECONDS, check=False,
    )  # fmt: skip
    output = process.stdout + process.stderr
    assert process.returncode == 0, f"cluster {' '.join(arguments)}: {output}"
