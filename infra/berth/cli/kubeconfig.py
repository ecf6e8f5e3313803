"""`berth kubeconfig`."""

import json

import click

from berth.cli.options import stack_option
from berth.project import find_project


@click.command()
@stack_option
def kubeconfig(name: str) -> None:
    """Print a kubeconfig for the EKS cluster of a stack on AWS.

    It contains no credentials: kubectl runs `berth cluster-token` for each use.
    """
    from berth.cli.stacks import load_spec

    spec = load_spec(find_project(), name)
    if spec.platform != "aws":
        raise click.BadParameter(
            f"Stack '{name}' has platform '{spec.platform}', and only a stack on aws creates its "
            "cluster. Use the kubeconfig that berth:kubernetes.kubeconfig names.",
            param_hint="--stack",
        )
    from berth.platforms.aws.access import eks_access

    click.echo(json.dumps(eks_access(name, spec.aws).content, indent=2))
