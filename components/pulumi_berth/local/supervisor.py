"""The process supervisor of a local stack. Every process of the stack runs under it."""

import secrets
from pathlib import Path

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.files import replace_atomically
from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.providers import SupervisorProvider

_TOKEN_BYTES = 32


class Supervisor(Resource, module="berth", name="Supervisor"):
    """The process supervisor of one local stack, and the stack's run directory.

    Args:
        run_dir: Absolute path of the run directory. The resource creates the directory and
            removes it, with everything in it, when the resource is deleted.
    """

    run_dir: pulumi.Output[str]
    running: pulumi.Output[bool]

    def __init__(
        self, name: str, *, run_dir: Path, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            SupervisorProvider(), name, {"run_dir": str(run_dir), "running": None}, opts
        )


def start_empty(run_dir: RunDir) -> None:
    """Start the supervisor without any program.

    A stack whose state was lost can have left processes in this directory. End them first.
    """
    supervisord.stop(run_dir)
    for config in run_dir.programs.glob("*.conf"):
        config.unlink()
    start(run_dir)


def start(run_dir: RunDir) -> None:
    """Create the run directory with its token, and start the supervisor if it does not run."""
    run_dir.create()
    if not run_dir.token.exists():
        replace_atomically(run_dir.token, secrets.token_urlsafe(_TOKEN_BYTES))
    supervisord.start(run_dir)


def delete(run_dir: RunDir) -> None:
    """Stop the supervisor with all its processes, and remove the run directory."""
    supervisord.stop(run_dir)
    run_dir.remove()
