"""`berth data`: the commands of datasets."""

from pathlib import Path

import click

from berth.cli.options import json_option, say, show, stack_option
from berth.project import find_project


@click.group()
def data() -> None:
    """Push, list and promote datasets."""


@data.command("push")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target")
@click.option(
    "--version", required=True, help="New version name. Existing versions are never overwritten."
)
@click.option("--plain-http", is_flag=True, help="Use a registry without TLS.")
@json_option
def data_push(directory: Path, target: str, version: str, plain_http: bool, as_json: bool) -> None:
    """Upload DIRECTORY as a version of a dataset.

    TARGET is oci://registry/name, s3://bucket/prefix, or a directory of a claim. An interrupted
    push to a bucket resumes.
    """
    from berth.operations.datasets import push_dataset

    say(f"Pushing {directory} as version {version} of {target}")
    digest = push_dataset(directory, target, version, plain_http=plain_http, say=say)
    show({"target": target, "version": version, "digest": digest}, as_json, lambda: digest)


@data.command("list")
@stack_option
@json_option
def data_list(name: str, as_json: bool) -> None:
    """List the datasets that the stack reads, and their versions."""
    from berth.cli.stacks import load_spec
    from berth.operations.datasets import format_datasets, list_datasets

    datasets = list_datasets(load_spec(find_project(), name))
    show(datasets, as_json, lambda: format_datasets(datasets))


@data.command("promote")
@click.argument("dataset")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
def data_promote(dataset: str, source: str, target: str, as_json: bool) -> None:
    """Write the version of DATASET that stack FROM reads into the configuration of stack TO."""
    from berth.operations.datasets import promote_dataset

    promoted = promote_dataset(dataset, find_project(), source=source, target=target, say=say)
    show(
        promoted,
        as_json,
        lambda: (
            f"Pulumi.{target}.yaml: {dataset} {promoted['from']} -> {promoted['to']}. Commit it, "
            f"then run 'berth up -s {target}'."
        ),
    )
