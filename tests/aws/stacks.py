"""The project's own dev and prod stacks, on emulated AWS and a real cluster."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.aws.emulation import Emulation
from tests.cluster.cluster import Cluster
from tests.engine.project import Project
from tests.repository import REPOSITORY

_NODE_PORTS = {"dev": 31080, "prod": 31081}
_STAND_IN = "autoscaler:stand-in"
_SMALL = {"cpu": "50m", "memory": "192Mi"}


def host_zone(aws: Emulation, name: str = "example.com") -> None:
    """The DNS zone that the stacks' host names lie in, which is there before them."""
    aws.client("route53").create_hosted_zone(Name=name, CallerReference=name)


def new_stack(name: str, folder: Path, aws: Emulation, cluster: Cluster) -> Project:
    """The project with stack `name`, its configuration as it is but for what emulation needs."""
    project = Project.copy_to(folder, name)
    shutil.copy2(REPOSITORY / f"Pulumi.{name}.yaml", folder)
    project.environment |= aws.environment()
    project.environment.pop("HTTP_PROXY", None)
    project.edit(_emulated(name, aws, cluster, _stand_in(folder, cluster)))
    return project


def _emulated(
    name: str, aws: Emulation, cluster: Cluster, autoscaler: str
) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        config.update(aws.config())
        config["berth:kubernetes"] |= {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": f"aws-{name}",
            "controller_image": cluster.traefik_image,
            "ready_timeout_seconds": 240,
            "service": {"node_port": _NODE_PORTS[name]},
        }
        config["berth:registry"] |= {
            "url": f"{cluster.registry}/berth-{name}",
            "plain_http": True,
        }
        config["berth:cluster"]["autoscaler_image"] = autoscaler
        for model in config["berth:models"].values():
            # A laptop's processors; the replicas stay as they are configured but for their number.
            model["resources"] = _SMALL
            model["replicas"]["min"] = 1

    return change


def _stand_in(folder: Path, cluster: Cluster) -> str:
    """An image in the autoscaler's place: the real one would ask an AWS that is not there for
    groups of instances that no machine is behind."""
    program = shutil.which("pause")
    assert program is not None
    layer = folder / "autoscaler.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(program, "cluster-autoscaler")
    subprocess.run(
        ["cluster", "push", _STAND_IN, "--layer", str(layer), "--", "/cluster-autoscaler"],
        env=os.environ | {"CLUSTER_DIR": str(cluster.state_dir)},
        check=True, capture_output=True,
    )  # fmt: skip
    return cluster.pin_image(_STAND_IN)
