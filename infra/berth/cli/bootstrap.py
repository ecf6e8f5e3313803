"""`berth bootstrap`: what an AWS account needs before its first stack."""

import click

from berth.cli.shared import json_option, show


@click.command()
@click.option("--region", help="Where; that of AWS's own configuration otherwise.")
@click.option("--bucket", help="Its name; otherwise one with the account and region in it.")
@json_option
def bootstrap(region: str | None, bucket: str | None, as_json: bool) -> None:
    """Make, or put right, where the state of aws stacks is kept: a bucket, and keys for it and for
    secrets. What is as it shall be is left alone."""
    from berth.operations import bootstrap as state
    from berth.operations.state_bucket import why_no_name

    if bucket is not None and (why := why_no_name(bucket)):
        raise click.BadParameter(why, param_hint="--bucket")
    made = state.bootstrap(region=region, bucket=bucket)
    show(state.as_json(made), as_json, lambda: state.as_text(made))
