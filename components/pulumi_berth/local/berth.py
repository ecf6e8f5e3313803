"""Berth on this machine: one model version in a supervised process of its own."""

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from berth_protocol.paths import model_ready_path
from pulumi_berth.local import supervisord
from pulumi_berth.local.ports import LOOPBACK, free_port, is_taken
from pulumi_berth.local.readiness import NotReadyError, get_json, wait_until_ready
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.program_source import program_digest, program_environment
from pulumi_berth.serving_settings import ServingSettings

# A large model loads and warms up in tens of seconds on a laptop.
_READY_SECONDS = 120.0
# Another process may take a free port between its choice and its use.
_PORT_ATTEMPTS = 5

_INPUTS = ("run_dir", "model", "version", "model_dir", "digest", "app", "environment")


class _BerthProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        run_dir = RunDir(Path(props["run_dir"]))
        # A name of its own for every instance: a changed berth runs beside the one it replaces.
        name = f"{props['model']}-{props['version']}-{secrets.token_hex(3)}"
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = free_port()
            try:
                _run(run_dir, name, port, props)
                break
            except NotReadyError:
                supervisord.remove(run_dir, name)
                if not is_taken(port) or attempt == _PORT_ATTEMPTS:
                    raise
        return CreateResult(name, _outputs(props, name, port))

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        changed = [key for key in _INPUTS if olds.get(key) != news.get(key)]
        alive = supervisord.is_alive(RunDir(Path(olds["run_dir"])), id_)
        return DiffResult(
            changes=bool(changed) or not alive or not olds["running"],
            replaces=changed,
            delete_before_replace=False,
        )

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        # Reached when nothing but the process is amiss: start it again where it was.
        run_dir = RunDir(Path(news["run_dir"]))
        if not supervisord.is_alive(run_dir, id_):
            supervisord.remove(run_dir, id_)
        _run(run_dir, id_, int(olds["port"]), news)
        return UpdateResult(_outputs(news, id_, int(olds["port"])))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        alive = supervisord.is_alive(RunDir(Path(props["run_dir"])), id_)
        return ReadResult(id_, {**props, "running": alive})

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        supervisord.remove(RunDir(Path(props["run_dir"])), id_)


def _run(run_dir: RunDir, name: str, port: int, props: dict[str, Any]) -> None:
    settings: dict[str, str] = dict(props["environment"])
    supervisord.add(
        run_dir,
        supervisord.Program(
            name=name,
            command=[sys.executable, "-P", "-m", "berth_serving"],
            directory=run_dir.path,
            environment={
                **program_environment("berth_serving"),
                **settings,
                "BERTH_MODEL_DIR": props["model_dir"],
                "BERTH_HOST": LOOPBACK,
                "BERTH_PORT": str(port),
                "BERTH_TOKEN_FILE": str(run_dir.token),
            },
            grace_seconds=float(settings["BERTH_GRACE_SECONDS"]),
        ),
    )
    path = model_ready_path(props["model"], props["version"])
    wait_until_ready(run_dir, name, lambda: get_json(port, path)[0] == 200, seconds=_READY_SECONDS)


def _outputs(props: dict[str, Any], name: str, port: int) -> dict[str, Any]:
    return {
        **props,
        "process": name,
        "port": port,
        "url": f"http://{LOOPBACK}:{port}",
        "running": True,
    }


class BerthProcess(Resource, module="local", name="BerthProcess"):
    """The serving process of one model version; inputs and outputs as in `Berth`.

    Any changed input replaces it: the new process is ready before the old one is asked to
    finish. A process that died is started again on its port.
    """

    process: pulumi.Output[str]
    port: pulumi.Output[int]
    url: pulumi.Output[str]
    running: pulumi.Output[bool]

    def __init__(
        self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        outputs = {"process": None, "port": None, "url": None, "running": None}
        super().__init__(_BerthProvider(), name, {**inputs, **outputs}, opts)


@dataclass(frozen=True, kw_only=True)
class BerthArgs:
    """What one local berth runs.

    Attributes:
        run_dir: the stack's folder, made by `Supervisor`.
        model, version: as in the model card.
        model_dir: absolute path of the directory with `model.onnx` and `model.yaml`.
        digest: `sha256:<hex>` of the model card; a change of it replaces the berth.
        serving: limits and session options.
    """

    run_dir: Path
    model: str
    version: str
    model_dir: Path
    digest: str
    serving: ServingSettings


class Berth(pulumi.ComponentResource):
    """One model version, running on this machine and reachable on loopback only.

    It answers `infer` to whoever shows the stack's token, which the gateway does.

    Attributes:
        digest: `sha256:<hex>` of the model card.
        url: where the process listens, `http://127.0.0.1:<port>`.
        process: its name under the supervisor, unique for each instance.
        port: TCP port, chosen free at create and kept while the process is mended.
    """

    digest: pulumi.Output[str]
    url: pulumi.Output[str]
    process: pulumi.Output[str]
    port: pulumi.Output[int]

    def __init__(
        self, name: str, args: BerthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:local:Berth", name, None, opts)
        process = BerthProcess(
            name,
            {
                "run_dir": str(args.run_dir),
                "model": args.model,
                "version": args.version,
                "model_dir": str(args.model_dir),
                "digest": args.digest,
                "app": program_digest("berth_serving"),
                "environment": args.serving.environment(),
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.digest = pulumi.Output.from_input(args.digest)
        self.url = process.url
        self.process = process.process
        self.port = process.port
        self.register_outputs({"url": self.url, "process": self.process, "port": self.port})
