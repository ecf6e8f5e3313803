"""`berth bootstrap`."""

import click

from berth.cli.options import json_option, show


@click.command()
@click.option("--region", help="AWS Region. Defaults to the Region in your AWS configuration.")
@click.option(
    "--bucket", help="Name of the bucket. Defaults to a name with the account and the Region."
)
@click.option(
    "--restore-keys",
    is_flag=True,
    help="Enable keys that are disabled, and keep keys that are scheduled for deletion.",
)
@json_option
def bootstrap(region: str | None, bucket: str | None, restore_keys: bool, as_json: bool) -> None:
    """Create the S3 bucket and KMS keys that store the state of AWS stacks.

    Run it again to repair settings that were changed.
    """
    from berth.platforms.aws import bootstrap as operation
    from berth.platforms.aws.state_bucket import check_bucket_name

    if bucket is not None and (problem := check_bucket_name(bucket)):
        raise click.BadParameter(problem, param_hint="--bucket")
    backend = operation.bootstrap(region=region, bucket=bucket, restore_keys=restore_keys)
    show(operation.as_json(backend), as_json, lambda: operation.format_text(backend))
