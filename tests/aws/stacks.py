"""The stacks dev and prod of this repository, on emulated AWS and a real cluster."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulumi_berth.oci.registry import Repository, split_reference
from tests.aws.emulation import Emulation
from tests.aws.strict_registry import StrictRegistry, serve_strict_registry
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import SMALL
from tests.engine.project import SAVE_STATE_ONCE, Project
from tests.repository import REPOSITORY

# In the range from which Kubernetes chooses no port for other Services.
_NODE_PORTS = {"dev": 30080, "prod": 30081}
_HOSTS = {"dev": "dev.ml.example.com", "prod": "ml.example.com"}
_AUTOSCALER = "autoscaler:substitute"
# Repositories in which the images of other projects are, as on Docker Hub.
_OTHERS = "others"


def create_host_zone(aws: Emulation, name: str = "example.com") -> None:
    """Create the DNS zone of the stacks' host names, which must exist before the stacks."""
    aws.client("route53").create_hosted_zone(Name=name, CallerReference=name)


def create_stack(
    name: str, directory: Path, aws: Emulation, cluster: Cluster, registry: StrictRegistry
) -> Project:
    """Return the project with stack `name`, configured for the emulator and the cluster.

    dev owns the images. prod is logged in to the registry as another account, which only pulls.
    """
    project = Project.copy_to(directory, name)
    shutil.copy2(REPOSITORY / f"Pulumi.{name}.yaml", directory)
    project.environment |= aws.environment() | SAVE_STATE_ONCE
    project.environment.pop("HTTP_PROXY", None)
    password = registry.owner if name == "dev" else registry.reader
    login = registry.write_login(directory / "login", password)
    project.environment["DOCKER_CONFIG"] = str(login)
    project.edit(_configure(name, aws, cluster, registry))
    project.edit(lambda config: _create_access_roles(config, aws))
    return project


@contextmanager
def serve_registry_to(cluster: Cluster, directory: Path) -> Iterator[StrictRegistry]:
    """Serve a registry that the cluster's nodes pull from, with the images of other projects."""
    with serve_strict_registry(directory, node_address=cluster.host) as registry:
        cluster.redirect_registry(registry.host, registry.node_host)
        _push_autoscaler(directory, cluster)
        for image in (cluster.traefik_image, cluster.pin_image(_AUTOSCALER)):
            source, digest = split_reference(image)
            name = f"{_OTHERS}/{source.rpartition('/')[2]}"
            registry.load(Repository(name=source, plain_http=True), digest, name)
        yield registry


def _configure(
    name: str, aws: Emulation, cluster: Cluster, registry: StrictRegistry
) -> Callable[[Any], None]:
    def find(image: str) -> str:
        digest = split_reference(cluster.pin_image(image))[1]
        return f"{registry.host}/{_OTHERS}/{image.partition(':')[0]}@{digest}"

    def change(config: Any) -> None:
        config.update(aws.config())
        config["berth:kubernetes"] |= {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": f"aws-{name}",
            "controller_image": find("traefik:v3.6"),
            "controller_replicas": 1,
            "ready_timeout_seconds": 240,
            "service": {"node_port": _NODE_PORTS[name]},
        }
        config["berth:registry"] |= {
            "url": f"{registry.host}/berth-dev",
            "plain_http": True,
        }
        # The files leave out names that only an account has. They are optional.
        host = _HOSTS[name]
        config["berth:api"]["domain"] = {"name": f"api.{host}", "zone": "example.com"}
        config["berth:edge"]["cdn"]["domain"] = {"name": host, "zone": "example.com"}
        config["berth:cluster"]["access"] = {
            "developers": {"role": f"berth-{name}-developers", "level": "view"}
        }
        config["berth:gateway"]["replicas"] = 1
        config["berth:cluster"]["autoscaler_image"] = find(_AUTOSCALER)
        for model in config["berth:models"].values():
            # Small enough for a laptop. Only the number of replicas and their resources change.
            model["resources"] = SMALL
            model["replicas"] |= {"min": 1, "max": 1}

    return change


def _create_access_roles(config: Any, aws: Emulation) -> None:
    """Create the roles that the stack grants access, as their owner would have done before."""
    for access in (config["berth:cluster"].get("access") or {}).values():
        aws.create_role(access["role"])


def _push_autoscaler(directory: Path, cluster: Cluster) -> None:
    """Push an image that replaces the autoscaler.

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
