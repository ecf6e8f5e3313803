"""`berth test`, which exists only in a checkout of Berth's repository."""

import sys

import click

from berth.project import find_project


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> None:
    """Run the tests of a checkout of Berth's repository. Passes ARGUMENTS to pytest."""
    from berth.operations.testing import run_tests

    sys.exit(run_tests(find_project(), list(arguments)))
