"""A stack on a Docker engine, and what the engine shows of it."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from docker.models.containers import Container

from berth_protocol.model_card import read_card
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    MODEL_LABEL,
    VERSION_LABEL,
)
from tests.docker.engine import Engine
from tests.engine.project import SAVE_STATE_ONCE, Load, Project

INFER = "/v2/models/digits/infer"


@dataclass
class DockerProject(Project):
    """A copy of the project whose stack `docker` runs on `engine`."""

    engine: Engine = field(kw_only=True)
    _first: str = ""

    @classmethod
    def create(cls, root: Path, engine: Engine) -> Self:
        """Create a project in `root`."""
        copy = Project.copy_to(root, "docker")
        project = cls(root, "docker", copy.environment, engine=engine)
        # The command that belongs to the engine, wherever another one is.
        (root / "bin").mkdir()
        (root / "bin" / "docker").symlink_to("/usr/bin/docker")
        path = os.pathsep.join((str(root / "bin"), project.environment["PATH"]))
        project.environment |= {"DOCKER_HOST": engine.host, "PATH": path, **SAVE_STATE_ONCE}

        def change(config: Any) -> None:
            # A small machine that runs other tests too can need minutes to load a model.
            config["berth:docker"] |= {"address": engine.address, "ready_timeout_seconds": 900}
            # Tests send as fast as they can.
            config["berth:gateway"]["clients"]["default"] = {
                "rate_per_second": 100000,
                "burst": 100000,
            }

        project.edit(change)
        project._first = project.config_file.read_text()
        return project

    @property
    def endpoint(self) -> str:
        return f"http://{self.engine.address}:8080"

    def ensure_deployed(self) -> None:
        """Deploy the first configuration unless it is deployed."""
        self.config_file.write_text(self._first)
        if not self.is_serving() or self._deployed_config != self._first:
            self.berth("up", "--yes")

    def is_serving(self) -> bool:
        """Return whether everything in the stack is ready."""
        if not self.find("entry"):
            return False
        status = self.json("status")
        states = [
            berth["state"]
            for model in status["models"].values()
            for berth in model["versions"].values()
        ]
        return {status["gateway"], *states} == {"ready"} and not status["notes"]

    def deploy(self, change: Callable[[Any], None]) -> None:
        """Change the configuration and deploy it."""
        self.edit(change)
        self.berth("up", "--yes")

    def find(
        self, component: str, model: str | None = None, version: str | None = None
    ) -> list[Container]:
        """Return the stack's containers, also those that do not run."""
        labels = [f"{HOSTING_LABEL}=berth/docker/berth-docker", f"{COMPONENT_LABEL}={component}"]
        labels += [f"{MODEL_LABEL}={model}"] if model else []
        labels += [f"{VERSION_LABEL}={version}"] if version else []
        with contextlib.closing(self.engine.client()) as client:
            found: list[Container] = client.containers.list(all=True, filters={"label": labels})
            return found

    def container(self, component: str, model: str = "", version: str = "") -> Container:
        """Return the only container of a component."""
        (container,) = self.find(component, model, version)
        return container

    def find_serving_gateway(self) -> Container:
        """Return the gateway that serves: the one that was the last to begin."""
        gateways = self.find("gateway")
        return max(gateways, key=lambda each: _find_last_turn(each.logs(timestamps=True)))

    def kill_program(self, container: Container) -> None:
        """Kill a container's program, which the engine did not stop and so starts again."""
        container.reload()
        self.engine.machine.run("kill", "-9", str(container.attrs["State"]["Pid"]))

    def list_objects(self) -> list[str]:
        """Return the names of all containers, networks and volumes in the engine."""
        with contextlib.closing(self.engine.client()) as client:
            networks = [each.name for each in client.networks.list()]
            return sorted(
                [
                    *(each.name for each in client.containers.list(all=True)),
                    *(name for name in networks if name not in ("bridge", "host", "none")),
                    *(each.name for each in client.volumes.list()),
                ]
            )

    def create_load(self) -> Load:
        """Return clients that send a model's example."""
        example = read_card(self.root / "models" / "digits" / "1").example
        return Load(
            self.endpoint,
            {"x-api-key": self.key(), "content-type": "application/json"},
            INFER,
            json.dumps(example).encode(),
        )

    @contextlib.contextmanager
    def load(self) -> Iterator[Load]:
        """Send requests during the block, and check that none failed."""
        load = self.create_load()
        with load.running():
            yield load
        load.assert_no_failures()


def _find_last_turn(log: bytes) -> str:
    """Return the time at which a gateway began to serve, or nothing."""
    lines = [line for line in log.decode().splitlines() if "Listening on" in line]
    return lines[-1].partition(" ")[0] if lines else ""
