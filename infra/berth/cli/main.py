"""`berth`: the group of all commands. A command's module is imported only when it is used."""

import importlib
import os
import sys
from typing import Any

import click

from berth.cli.terminal_text import allow_any_encoding
from pulumi_berth.proxies import exclude_loopback

BAD_INPUT = 2

COMMANDS = {
    "bootstrap": "Create the S3 bucket and KMS keys that store the state of AWS stacks.",
    "capture": "Write the captured requests of a version to a file.",
    "cluster-token": "Print a token for an EKS cluster, as kubectl expects it.",
    "cost": "Estimate what a stack on AWS costs per month.",
    "dashboard": "Show the stack in a local web page, read-only.",
    "data": "Push, list and promote datasets.",
    "destroy": "Delete the stack's resources.",
    "graph": "Print the stack's resource graph as Mermaid text.",
    "history": "List the stack's updates, and what each of them changed in the configuration.",
    "images": "Show the content of the stack's images.",
    "init": "Create a project with a sample model.",
    "invoke": "Send one inference request and print the response.",
    "key": "Print a client's API key.",
    "kubeconfig": "Print a kubeconfig for the EKS cluster of a stack on AWS.",
    "logs": "Print logs of the stack or of one model.",
    "models": "List the model versions with their metrics, and the stacks that run them.",
    "monitoring": "Write a Grafana dashboard and Prometheus rules for the stack.",
    "package": "Package a trained model as a version that Berth can serve.",
    "parity": "Compare two stacks.",
    "preflight": "Check what would stop 'up', without changing anything.",
    "preview": "Show what 'up' would change.",
    "promote": "Write the release of one stack into the configuration of another, after checks.",
    "refresh": "Read the state of all resources from where they run.",
    "rollback": "Roll back to an earlier successful update.",
    "rollout": "Move traffic to a version step by step, and revert it if guards are violated.",
    "sign": "Sign a model version, so that stacks can require the signature.",
    "sign-images": "Sign the images of a stack in cosign's format.",
    "status": "Show the endpoint and each version's state, traffic and digest.",
    "test": "Run the tests of a checkout of Berth's repository.",
    "up": "Deploy the stack that its configuration file describes.",
    "watch": "Show the stack in the terminal, and refresh the view.",
}
"""Command -> its help in the list of commands. The module `berth.cli.COMMAND` defines
it, with underscores instead of hyphens."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for name in COMMANDS if name != "test" or _is_in_repository()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"berth.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            click.echo(str(error) if code == BAD_INPUT else f"berth: {error}", err=True)
            sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """Return 2 for invalid input, 1 for other failures with a message, None for a defect."""
    # Imported here, because most commands need only few of these modules.
    from berth.engine import EngineError
    from berth.errors import OperationError
    from berth.packaging.errors import PackageError
    from berth.project import ProjectError
    from berth.spec import SpecError
    from berth_protocol.model_card import CardError
    from pulumi_berth.signing.errors import SignatureError

    if isinstance(error, ProjectError | SpecError | CardError | PackageError | SignatureError):
        return BAD_INPUT
    return 1 if isinstance(error, OperationError | EngineError) else None


def _is_in_repository() -> bool:
    """Return whether the working directory is in a checkout of Berth's repository."""
    from berth.project import ProjectError, find_project

    try:
        root = find_project()
    except ProjectError:
        return False
    return (root / "tests").is_dir() and (root / "infra" / "berth" / "cli").is_dir()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="berth")
def main() -> None:
    """Serve trained models, each version in its own serving container."""
    allow_any_encoding()
    exclude_loopback(os.environ)
