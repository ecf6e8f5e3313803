"""Supervisor: the local stack's machine room. Every process of the stack runs under it."""

import secrets
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

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir, write_atomically


class _SupervisorProvider(ResourceProvider):
    # Nothing of a secret is captured by the class; in clear, a diff of it can be read.
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        run_dir = RunDir(Path(props["run_dir"]))
        # What a lost state left running here is nobody's any more.
        supervisord.stop(run_dir)
        for left in run_dir.programs.glob("*.conf"):
            left.unlink()
        self._run(run_dir)
        return CreateResult(str(run_dir.path), {**props, "running": True})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        moved = olds["run_dir"] != news["run_dir"]
        running = supervisord.is_running(RunDir(Path(olds["run_dir"])))
        return DiffResult(
            changes=moved or not running or not olds["running"],
            replaces=["run_dir"] if moved else [],
        )

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        self._run(RunDir(Path(news["run_dir"])))
        return UpdateResult({**news, "running": True})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        running = supervisord.is_running(RunDir(Path(props["run_dir"])))
        return ReadResult(id_, {**props, "running": running})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        run_dir = RunDir(Path(props["run_dir"]))
        supervisord.stop(run_dir)
        run_dir.remove()

    def _run(self, run_dir: RunDir) -> None:
        run_dir.create()
        if not run_dir.token.exists():
            write_atomically(run_dir.token, secrets.token_urlsafe(32))
        supervisord.start(run_dir)


class Supervisor(Resource, module="local", name="Supervisor"):
    """The process supervisor of one local stack, and the folder that the stack lives in.

    Args:
        run_dir: absolute path of the folder; made at create, removed with all it holds at delete.
    """

    run_dir: pulumi.Output[str]
    running: pulumi.Output[bool]

    def __init__(
        self, name: str, *, run_dir: Path, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            _SupervisorProvider(), name, {"run_dir": str(run_dir), "running": None}, opts
        )
