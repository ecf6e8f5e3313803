"""The stacks dev and prod of this repository, on emulated AWS and a real cluster."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.aws.emulation import Emulation
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import SMALL
from tests.engine.project import Project
from tests.repository import REPOSITORY

# In the range from which Kubernetes chooses no port for other Services.
_NODE_PORTS = {"dev": 30080, "prod": 30081}
_AUTOSCALER = "autoscaler:substitute"


def create_host_zone(aws: Emulation, name: str = "example.com") -> None:
    """Create the DNS zone of the stacks' host names, which must exist before the stacks."""
    aws.client("route53").create_hosted_zone(Name=name, CallerReference=name)


def create_stack(name: str, directory: Path, aws: Emulation, cluster: Cluster) -> Project:
    """Return the project with stack `name`, configured for the emulator and the cluster."""
    project = Project.copy_to(directory, name)
    shutil.copy2(REPOSITORY / f"Pulumi.{name}.yaml", directory)
    project.environment |= aws.environment()
    project.environment.pop("HTTP_PROXY", None)
    project.edit(_configure(name, aws, cluster, _push_autoscaler(directory, cluster)))
    project.edit(lambda config: _create_access_roles(config, aws))
    return project


def _configure(
    name: str, aws: Emulation, cluster: Cluster, autoscaler: str
) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        config.update(aws.config())
        config["berth:kubernetes"] |= {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": f"aws-{name}",
            "controller_image": cluster.traefik_image,
            "controller_replicas": 1,
            "ready_timeout_seconds": 240,
            "service": {"node_port": _NODE_PORTS[name]},
        }
        config["berth:registry"] |= {
            "url": f"{cluster.registry}/berth-{name}",
            "plain_http": True,
        }
        config["berth:gateway"]["replicas"] = 1
        config["berth:cluster"]["autoscaler_image"] = autoscaler
        for model in config["berth:models"].values():
            # Small enough for a laptop. Only the number of replicas and their resources change.
            model["resources"] = SMALL
            model["replicas"] |= {"min": 1, "max": 1}

    return change


def _create_access_roles(config: Any, aws: Emulation) -> None:
    """Create the roles that the stack grants access, as their owner would have done before."""
    for access in (config["berth:cluster"].get("access") or {}).values():
        aws.create_role(access["role"])


def _push_autoscaler(directory: Path, cluster: Cluster) -> str:
    """Push an image that replaces the autoscaler and return its reference.

    The real autoscaler would request instances that the emulator does not start.
    """
    program = shutil.which("pause")
    assert program is not None
    layer = directory / "autoscaler.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(program, "cluster-autoscaler")
    subprocess.run(
        ["cluster", "push", _AUTOSCALER, "--layer", str(layer), "--", "/cluster-autoscaler"],
        env=os.environ | {"CLUSTER_DIR": str(cluster.state_dir)},
        check=True, capture_output=True,
    )  # fmt: skip
    return cluster.pin_image(_AUTOSCALER)
