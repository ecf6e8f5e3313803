"""`berth parity`, and the parity that a preview tells of."""

import sys
from typing import Any

import click

from berth.cli.shared import ROOT, json_option, say, show
from berth.operations import parity as holding
from berth.spec import HostingSpec


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--markdown", is_flag=True, help="A table for a pull request.")
@json_option
def parity(first: str, second: str, markdown: bool, as_json: bool) -> None:
    """Hold what stack SECOND declares against stack FIRST, sizes aside; exit 1 on a departure."""
    found = holding.parity(ROOT, first, second)
    text = holding.as_markdown if markdown else holding.as_text
    show(holding.as_json(first, second, found), as_json, lambda: text(first, second, found))
    sys.exit(1 if found else 0)


def told(spec: HostingSpec, name: str) -> dict[str, Any] | None:
    """The parity of a stack with the one that its configuration names, told on stderr; None where
    it names none."""
    other = spec.parity.stack
    if other is None:
        return None
    found = holding.parity(ROOT, other, name)
    say(f"parity: {holding.as_text(other, name, found)}")
    return holding.as_json(other, name, found)
