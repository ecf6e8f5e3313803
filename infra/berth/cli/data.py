"""`berth data`: the commands of sets of reference data."""

from pathlib import Path

import click

from berth.cli.shared import ROOT, json_option, say, show, stack_option
from berth.spec import load_file


@click.group()
def data() -> None:
    """Sets of reference data: versioned and promoted apart from the models."""


@data.command("push")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target")
@click.option("--version", required=True, help="The version; one that exists is never changed.")
@click.option("--plain-http", is_flag=True, help="For a registry without TLS.")
@json_option
def data_push(folder: Path, target: str, version: str, plain_http: bool, as_json: bool) -> None:
    """Put FOLDER as a version of the set at TARGET: oci://registry/name, s3://bucket/prefix, or a
    folder of a claim. Into a bucket a push that was interrupted goes on where it was."""
    from berth.operations import data as data_sets

    say(f"pushing {folder} as version {version} of {target}")
    digest = data_sets.push(folder, target, version, plain_http=plain_http, say=say)
    show({"target": target, "version": version, "digest": digest}, as_json, lambda: digest)


@data.command("list")
@stack_option
@json_option
def data_list(name: str, as_json: bool) -> None:
    """The sets that the stack reads, and their versions."""
    from berth.operations import data as data_sets

    found = data_sets.listed(load_file(ROOT / f"Pulumi.{name}.yaml"))
    show(found, as_json, lambda: data_sets.as_text(found))


@data.command("promote")
@click.argument("set_name", metavar="SET")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
def data_promote(set_name: str, source: str, target: str, as_json: bool) -> None:
    """Write the version of SET that stack FROM reads into the configuration of stack TO."""
    from berth.operations import data as data_sets

    found = data_sets.promote(set_name, ROOT, source=source, target=target, say=say)
    show(
        found,
        as_json,
        lambda: (
            f"Pulumi.{target}.yaml: {set_name} {found['from']} -> {found['to']}; commit it, then "
            f"`berth up -s {target}`"
        ),
    )
