"""`berth cluster-token`."""

import json

import click


@click.command(name="cluster-token")
@click.argument("cluster")
@click.option("--region", required=True, help="AWS Region of the cluster.")
@click.option("--identity", help="Profile and roles, as JSON. Defaults to your AWS configuration.")
def cluster_token(cluster: str, region: str, identity: str | None) -> None:
    """Print a token for an EKS cluster, as kubectl expects it.

    A kubeconfig names this command. The token is valid for 15 minutes.
    """
    import datetime

    from berth.platforms.aws.cluster_token import build_credential, create_token
    from berth.platforms.aws.errors import explain_aws_errors
    from pulumi_berth.aws_identity import parse_identity

    try:
        document = json.loads(identity or "{}")
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--identity") from error
    with explain_aws_errors("docs/how-to/deploy-to-aws.md"):
        token = create_token(cluster, region, parse_identity(document))
    click.echo(json.dumps(build_credential(token, datetime.datetime.now(datetime.UTC))))
