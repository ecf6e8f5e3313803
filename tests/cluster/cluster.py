"""A real Kubernetes cluster on this machine, of these tests' own."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_berth.oci.registry import Repository

_UP_SECONDS = 180
_NEEDED = ("containerd", "runc", "docker-registry", "iptables", "conntrack", "openssl", "ip")
# Apart from a cluster that somebody has up by hand.
_NAME, _NET = "berth-tests", "10.118"


def why_not() -> str | None:
    """Why no cluster can be had here; None when one can."""
    if shutil.which("cluster") is None:
        return "no `cluster` on the PATH, the tool that starts a real Kubernetes on this machine"
    if os.geteuid() != 0:
        return "a cluster of one's own needs root"
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    missing = [name for name in _NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None


@dataclass(frozen=True)
class Cluster:
    """The running cluster.

    Attributes:
        folder: of its state.
        registry: `host:port` of its registry, plain HTTP.
        node: address of its node.
    """

    folder: Path
    registry: str
    node: str

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def traefik(self) -> str:
        """The controller's image, in the cluster's own registry."""
        return self.by_digest("traefik:v3.6")

    def by_digest(self, image: str) -> str:
        """`name:tag` of the cluster's own registry as what pods run."""
        name, _, tag = image.partition(":")
        repository = Repository(name=f"{self.registry}/{name}", plain_http=True)
        return f"{repository.name}@{repository.digest_of(tag)}"

    def run(self, *arguments: str, stdin: str | None = None, code: int | None = 0) -> str:
        """`kubectl ARGUMENTS`; what it printed. `code` None takes any."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert code in (None, done.returncode), f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code != 0 else "")

    def get(self, *arguments: str) -> Any:
        """`kubectl get ARGUMENTS` as data."""
        return json.loads(self.run("get", *arguments, "-o", "json"))

    def apply(self, *documents: Mapping[str, Any]) -> None:
        whole = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.run("apply", "-f", "-", stdin=json.dumps(whole))

    def drop(self, *namespaces: str) -> None:
        """Have what is in `namespaces` end, without waiting: room for the next tests' pods."""
        self.run("delete", "namespace", *namespaces, "--wait=false")

    def nodes(self, *arguments: str) -> None:
        """Fake nodes, as `cluster nodes ARGUMENTS` makes them."""
        _tool(self.folder, "nodes", *arguments)

    def down(self) -> None:
        _tool(self.folder, "down")


def start(folder: Path, *arguments: str, name: str = _NAME, net: str = _NET) -> Cluster:
    """`cluster up ARGUMENTS`, its state in `folder`; `name` and `net` keep it apart from others."""
    _tool(folder, "up", *arguments, CLUSTER_NAME=name, CLUSTER_NET=net)
    return Cluster(folder, registry=f"{net}.0.2:5000", node=f"{net}.0.2")


def _tool(folder: Path, *arguments: str, **settings: str) -> None:
    """The tool; once the cluster is up, `folder` tells it the cluster's name and network."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    environment = os.environ | {"CLUSTER_DIR": str(folder), "PATH": path} | settings
    done = subprocess.run(
        ["cluster", *arguments], env=environment, capture_output=True, text=True,
        timeout=_UP_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"cluster {' '.join(arguments)}: {done.stdout}{done.stderr}"
