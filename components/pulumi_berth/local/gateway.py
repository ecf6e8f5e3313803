"""Gateway on this machine: the front door of a local stack, one supervised process."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from pulumi_berth.local import supervisord
from pulumi_berth.local.ports import LOOPBACK, free_port, is_taken
from pulumi_berth.local.readiness import get_json, last_words, wait_until_ready
from pulumi_berth.local.run_dir import RunDir, write_atomically
from pulumi_berth.program_source import program_digest, program_environment

_PROCESS = "gateway"
_READY_SECONDS = 30.0
_GRACE_SECONDS = 30.0


class _GatewayProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        run_dir = RunDir(Path(news["run_dir"]))
        failures = [
            CheckFailure(key, _taken(news[key]))
            for key in ("gateway_port", "admin_port")
            if news.get(key) is not None
            and news[key] != olds.get(key)
            and is_taken(int(news[key]))
            and int(news[key]) not in _own_ports(run_dir)
        ]
        return CheckResult(news, failures)

    def create(self, props: dict[str, Any]) -> CreateResult:
        run_dir = RunDir(Path(props["run_dir"]))
        supervisord.remove(run_dir, _PROCESS)
        return CreateResult(str(run_dir.gateway), self._start(run_dir, props, {}))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        run_dir = RunDir(Path(olds["run_dir"]))
        moved = olds["run_dir"] != news["run_dir"]
        states = supervisord.states(run_dir)
        return DiffResult(
            changes=moved
            or any(olds.get(key) != news.get(key) for key in _INPUTS)
            or states.get(_PROCESS) not in supervisord.ALIVE
            or bool(_undeclared(states, news))
            or not olds["running"],
            replaces=["run_dir"] if moved else [],
        )

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        run_dir = RunDir(Path(news["run_dir"]))
        alive = supervisord.is_alive(run_dir, _PROCESS)
        if alive and all(olds.get(key) == news.get(key) for key in _NEEDS_RESTART):
            outputs = {**olds, **news}
            self._reload(run_dir, outputs)
        else:
            supervisord.remove(run_dir, _PROCESS)
            outputs = self._start(run_dir, news, olds)
        for name in _undeclared(supervisord.states(run_dir), news):
            supervisord.remove(run_dir, name)
        return UpdateResult({**outputs, "running": True})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        alive = supervisord.is_alive(RunDir(Path(props["run_dir"])), _PROCESS)
        return ReadResult(id_, {**props, "running": alive})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        supervisord.remove(RunDir(Path(props["run_dir"])), _PROCESS)

    def _start(
        self, run_dir: RunDir, props: dict[str, Any], olds: dict[str, Any]
    ) -> dict[str, Any]:
        """Start the process on the ports asked for, else those it had, else free ones."""
        table = _table_bytes(props)
        write_atomically(run_dir.table, table)
        ports = {key: _port(props.get(key), olds.get(f"{key}_used")) for key in _PORTS}
        supervisord.add(
            run_dir,
            supervisord.Program(
                name=_PROCESS,
                command=[sys.executable, "-P", "-m", "berth_gateway"],
                directory=run_dir.path,
                environment={
                    **program_environment("berth_gateway"),
                    "GATEWAY_HOST": LOOPBACK,
                    "GATEWAY_PORT": str(ports["gateway_port"]),
                    "GATEWAY_ADMIN_PORT": str(ports["admin_port"]),
                    "GATEWAY_CONFIG": str(run_dir.table),
                    "GATEWAY_STATE_DIR": str(run_dir.gateway),
                    "GATEWAY_TOKEN_FILE": str(run_dir.token),
                    "GATEWAY_GRACE_SECONDS": f"{_GRACE_SECONDS:g}",
                },
                grace_seconds=_GRACE_SECONDS,
            ),
        )
        try:
            self._wait(run_dir, ports["admin_port"], table)
        except Exception:
            supervisord.remove(run_dir, _PROCESS)
            raise
        return {
            **props,
            "gateway_port_used": ports["gateway_port"],
            "admin_port_used": ports["admin_port"],
            "endpoint": f"http://{LOOPBACK}:{ports['gateway_port']}",
            "running": True,
        }

    def _reload(self, run_dir: RunDir, outputs: dict[str, Any]) -> None:
        table = _table_bytes(outputs)
        before = run_dir.table.read_bytes() if run_dir.table.exists() else None
        write_atomically(run_dir.table, table)
        supervisord.reload(run_dir, _PROCESS)
        try:
            self._wait(run_dir, int(outputs["admin_port_used"]), table)
        except Exception as error:
            # The gateway still runs the old table: leave on disk what a restart shall read.
            if before is not None:
                write_atomically(run_dir.table, before)
            raise RuntimeError(
                f"the gateway did not take its new table: {last_words(run_dir, _PROCESS)}"
            ) from error

    def _wait(self, run_dir: RunDir, admin_port: int, table: bytes) -> None:
        expected = hashlib.sha256(table).hexdigest()

        def in_force() -> bool:
            status, health = get_json(admin_port, "/healthz")
            return status == 200 and health["config_sha256"] == expected and health["ready"]

        wait_until_ready(run_dir, _PROCESS, in_force, seconds=_READY_SECONDS)


_PORTS = ("gateway_port", "admin_port")
_INPUTS = ("run_dir", "app", *_PORTS, "limits", "clients", "models", "berths")
# Anything else is in the table, which a running gateway reads again.
_NEEDS_RESTART = ("run_dir", "app", *_PORTS)


def _table_bytes(props: dict[str, Any]) -> bytes:
    table = {**props["limits"], "clients": props["clients"], "models": props["models"]}
    return json.dumps(_whole(table), indent=2, sort_keys=True).encode()


def _whole(value: Any) -> Any:
    """`value` with whole numbers as integers: every number reaches a provider as a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def _undeclared(states: Mapping[str, str], props: dict[str, Any]) -> list[str]:
    """Processes that no resource stands for: an interrupted `up` started them."""
    return sorted(set(states) - set(props["berths"]) - {_PROCESS})


def _port(asked: float | None, before: float | None) -> int:
    """The port asked for, else the one before it while that is free, else a free one."""
    if asked is not None:
        if is_taken(int(asked)):
            raise RuntimeError(_taken(asked))
        return int(asked)
    if before is not None and not is_taken(int(before)):
        return int(before)
    return free_port()


def _taken(port: float) -> str:
    return (
        f"port {int(port)} of {LOOPBACK} is in use by another program; "
        "end that program, or give another port under berth:local, or null for a free one"
    )


def _own_ports(run_dir: RunDir) -> set[int]:
    """The ports that this stack's gateway listens on now."""
    pid = supervisord.pids(run_dir).get(_PROCESS)
    if pid is None:
        return set()
    return {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.laddr}


class GatewayProcess(Resource, module="local", name="GatewayProcess"):
    """The gateway's process and its table; inputs and outputs as in `Gateway`.

    A change of clients, limits, routes or weights is a reload that drops no connection.
    """

    endpoint: pulumi.Output[str]
    admin_port_used: pulumi.Output[int]

    def __init__(
        self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        outputs = dict.fromkeys(("gateway_port_used", "admin_port_used", "endpoint", "running"))
        super().__init__(_GatewayProvider(), name, {**inputs, **outputs}, opts)


@dataclass(frozen=True, kw_only=True)
class Client:
    """Who may call, and how much.

    Attributes:
        key_sha256: sha256 (hex) of the client's API key.
        rate_per_second, burst: the throttle's steady rate and its bucket, in requests.
        quota_requests, quota_period: requests per calendar hour, day, week or month (UTC).
    """

    key_sha256: pulumi.Input[str]
    rate_per_second: float
    burst: int
    quota_requests: int | None = None
    quota_period: str | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """One model: the address of each deployed version, and which get what.

    Attributes:
        versions: version -> URL of its berth.
        exposed: versions that may be asked for by name from outside.
        traffic: version -> percent of the requests that name no version; the sum is 100.
        shadow: the version that receives copies, its answers discarded.
    """

    versions: Mapping[str, pulumi.Input[str]]
    exposed: Sequence[str]
    traffic: Mapping[str, int]
    shadow: str | None = None


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway lets through, and where to.

    Attributes:
        run_dir: the stack's folder, made by `Supervisor`.
        clients: by name.
        routes: by model.
        berths: process names of all declared berths; any other process is ended.
        gateway_port, admin_port: TCP ports; None takes a free one and keeps it.
        max_body_bytes: a longer request body is refused with 413.
        timeout_seconds: a berth that takes longer is answered for with 504.
    """

    run_dir: Path
    clients: Mapping[str, Client]
    routes: Mapping[str, Route]
    berths: Sequence[pulumi.Input[str]]
    gateway_port: int | None
    admin_port: int | None
    max_body_bytes: int
    timeout_seconds: float


class Gateway(pulumi.ComponentResource):
    """API keys, throttle, quotas, weights, shadow and metrics in front of the berths.

    Attributes:
        endpoint: base URL that clients use.
        metrics: URL of the gateway's Prometheus metrics, on this machine only.
    """

    endpoint: pulumi.Output[str]
    metrics: pulumi.Output[str]

    def __init__(
        self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:local:Gateway", name, None, opts)
        process = GatewayProcess(
            name,
            {
                "run_dir": str(args.run_dir),
                "app": program_digest("berth_gateway"),
                "gateway_port": args.gateway_port,
                "admin_port": args.admin_port,
                "limits": {
                    "max_body_bytes": args.max_body_bytes,
                    "timeout_seconds": args.timeout_seconds,
                },
                "clients": [_client(name, client) for name, client in args.clients.items()],
                "models": {model: _route(route) for model, route in args.routes.items()},
                "berths": list(args.berths),
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.endpoint = process.endpoint
        self.metrics = process.admin_port_used.apply(
            lambda port: f"http://{LOOPBACK}:{int(port)}/metrics"
        )
        self.register_outputs({"endpoint": self.endpoint, "metrics": self.metrics})


def _client(name: str, client: Client) -> dict[str, Any]:
    quota = None
    if client.quota_requests is not None:
        quota = {"requests": client.quota_requests, "period": client.quota_period}
    return {
        "name": name,
        "key_sha256": [client.key_sha256],
        "rate_per_second": client.rate_per_second,
        "burst": client.burst,
        "quota": quota,
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "versions": dict(route.versions),
        "exposed": list(route.exposed),
        "traffic": dict(route.traffic),
        "shadow": route.shadow,
    }
