"""The Docker engine that berths run on, and how clients reach the gateway."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.docker_tls import DockerTlsSpec
from berth.spec.errors import Problem, raise_problems
from berth.spec.fields import MemoryQuantity, Name, Port, Section, Text

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


class DockerHostSpec(Section):
    """A server with a Docker engine."""

    address: EngineAddress
    """Address of the engine."""
    memory: MemoryQuantity
    """Memory for the berths on the server. Leave room for the gateway and the system."""
    compute: Literal["cpu", "gpu"] = "cpu"
    """Class of berths that run on the server."""
    gpus: int = Field(default=0, ge=0, le=16)
    """GPUs of the server. A berth does not share its GPUs."""
    listen_address: ListenAddress | None = None
    """Address at which the server publishes the port for clients. Defaults to `docker.address`."""
    private_address: ListenAddress | None = None
    """Address in the network between the servers, with which the engine joined its swarm. Required
    if there are several servers."""

    @model_validator(mode="after")
    def _check(self) -> "DockerHostSpec":
        if (self.compute == "gpu") != (self.gpus > 0):
            use = "use 1 or more" if self.compute == "gpu" else "use 0 or set compute: gpu"
            raise_problems(
                [
                    Problem(
                        ("gpus",),
                        f"cannot be combined with compute: {self.compute}; {use}",
                        self.gpus > 0,
                    )
                ]
            )
        return self


class DockerSpec(Section):
    """The Docker engines that the stack runs on, and the ports that they publish."""

    host: EngineAddress | None = None
    """Address of the engine. Defaults to `DOCKER_HOST`, then to `unix:///var/run/docker.sock`."""
    hosts: dict[Name, DockerHostSpec] = Field(default={}, max_length=50)
    """Servers by name, instead of `host`. Each runs a gateway, and Berth places the replicas of the
    berths on them. The engines of several servers are nodes of one swarm."""
    manager: Name | None = None
    """Server of `hosts` whose engine is a manager of the swarm. Berth creates the networks between
    the servers there. Defaults to the first by name."""
    encrypted: bool = True
    """If true, the network between the servers is encrypted with IPsec."""
    address: ListenAddress = "127.0.0.1"
    """Address at which the engine's machine publishes the ports of the gateway. Docker's rules
    precede those of a host firewall such as ufw, so `0.0.0.0` is open to every network."""
    port: Port = 8080
    """TCP port for clients, with plain HTTP. With `tls`, it is not published."""
    tls: DockerTlsSpec | None = None
    """TLS for clients. Defaults to plain HTTP."""
    metrics_port: Port | None = None
    """TCP port on 127.0.0.1 of the engine's machine for the gateway's metrics. Defaults to
    none: the metrics are not published."""
    ready_timeout_seconds: int = Field(default=120, ge=5, le=7200)
    """Time limit for a new container to become ready, in seconds: load its model and run its
    example. Afterwards the update fails, and the previous container keeps serving."""

    @model_validator(mode="after")
    def _check(self) -> "DockerSpec":
        raise_problems(self._problems())
        return self

    @property
    def client_port(self) -> int:
        """The published port for clients, with or without TLS."""
        return self.port if self.tls is None else self.tls.port

    @property
    def manager_name(self) -> str:
        """The host through which networks between hosts are created."""
        return self.manager or min(self.hosts)

    def _problems(self) -> Iterator[Problem]:
        if self.port == self.metrics_port:
            yield Problem(("metrics_port",), "is also port; use two different ports")
        if self.tls is not None:
            # An update that turns TLS off publishes `port` before it deletes the proxy.
            for key, port in (("port", self.port), ("metrics_port", self.metrics_port)):
                if self.tls.port == port:
                    yield Problem(("tls", "port"), f"is also {key}; use two different ports")
            if self.tls.acme is not None and len(self.hosts) > 1:
                yield Problem(
                    ("tls", "acme"),
                    "works with one server, because the authority validates a host name at any of "
                    "several servers; use certificate_file and key_file",
                    False,
                )
        if self.host is not None and self.hosts:
            yield Problem(("host",), "cannot be combined with hosts; remove one of them")
        if self.manager is not None and self.manager not in self.hosts:
            known = ", ".join(self.hosts) or "none"
            yield Problem(("manager",), f"is not one of hosts; known hosts: {known}")
        owners: dict[str, str] = {}
        for name, host in self.hosts.items():
            if host.private_address is None and len(self.hosts) > 1:
                yield Problem(
                    ("hosts", name), "requires private_address, because there are several", False
                )
            for key, value in (
                ("address", host.address),
                ("private_address", host.private_address),
            ):
                if value is not None and (other := owners.setdefault(value, name)) != name:
                    yield Problem(
                        ("hosts", name, key), f"is also that of host {other}; each has its own"
                    )
