"""The Docker engine that berths run on, and how clients reach the gateway."""

from typing import Annotated

from pydantic import Field, model_validator

from berth.spec.errors import Problem, build_rule_error
from berth.spec.fields import Port, Section, Text

EngineAddress = Annotated[
    str,
    Text(
        r"unix:\/\/\/[A-Za-z0-9_.\/-]{1,100}|ssh:\/\/[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,300}",
        "unix:///path/of/docker.sock or ssh://user@host",
    ),
]
ListenAddress = Annotated[
    str,
    Text(
        r"[0-9]{1,3}(\.[0-9]{1,3}){3}",
        "an IPv4 address of the engine's machine, or 0.0.0.0 for all of them",
    ),
]


class DockerSpec(Section):
    """The Docker engine that the stack runs on, and the ports that it publishes."""

    host: EngineAddress | None = None
    """Address of the engine. Defaults to `DOCKER_HOST`, then to `unix:///var/run/docker.sock`."""
    address: ListenAddress = "127.0.0.1"
    """Address at which the engine's machine publishes the ports of the gateway. Docker's rules
    precede those of a host firewall such as ufw, so `0.0.0.0` is open to every network."""
    port: Port = 8080
    """TCP port for clients."""
    metrics_port: Port | None = None
    """TCP port on 127.0.0.1 of the engine's machine for the gateway's metrics. Defaults to
    none: the metrics are not published."""
    ready_timeout_seconds: int = Field(default=120, ge=5, le=7200)
    """Time limit for a new container to become ready, in seconds: load its model and run its
    example. Afterwards the update fails, and the previous container keeps serving."""

    @model_validator(mode="after")
    def _check(self) -> "DockerSpec":
        if self.port == self.metrics_port:
            raise build_rule_error(
                Problem(("metrics_port",), "is also port; use two different ports")
            )
        return self
