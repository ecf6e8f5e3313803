"""`berth cost`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from berth.cli.options import json_option, show, stack_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.platforms.aws.cost import Usage
    from berth.platforms.cost_line import CostLine

# The defaults and meanings of `berth.platforms.aws.cost.Usage`; a test compares them.
_USAGE = {
    "requests": (int, 1_000_000, "Requests of clients per month."),
    "response-kib": (float, 2.0, "Size of a response in KiB."),
    "log-gib": (float, 10.0, "Log lines per month in GiB."),
    "nat-gib": (float, 20.0, "Traffic through NAT gateways per month in GiB."),
    "endpoint-gib": (float, 10.0, "Traffic through interface endpoints per month in GiB."),
    "data-gib": (float, 5.0, "Objects in S3 in GiB."),
    "image-gib": (float, 5.0, "Images in ECR in GiB."),
    "gpu-node-hours": (float, 0.0, "Hours of GPU nodes that the autoscaler adds per month."),
    "observations-per-pod": (float, 40.0, "Container Insights' observations per Pod and minute."),
}


def _usage_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, (kind, default, text) in reversed(_USAGE.items()):
        option = click.option(f"--{name}", type=kind, default=default, show_default=True, help=text)
        command = option(command)
    return command


@click.command()
@stack_option
@click.option("--region", help="AWS Region of the prices. Defaults to the stack's Region.")
@_usage_options
@json_option
def cost(name: str, region: str | None, as_json: bool, **usage: Any) -> None:
    """Estimate what a stack on AWS costs per month.

    Counts the resources that the stack declares and multiplies them by a dated table of prices.
    """
    from datetime import date

    from berth.errors import OperationError
    from berth.operations.declarations import read_declarations
    from berth.platforms.aws.cost import Usage, estimate
    from berth.spec import load_file

    path = find_project() / f"Pulumi.{name}.yaml"
    spec = load_file(path)
    if spec.platform != "aws":
        raise OperationError(
            f"Stack '{name}' has platform {spec.platform}, which costs nothing by itself. Run "
            "berth cost for a stack with platform: aws."
        )
    assumed = Usage(**usage)
    where = region or str(spec.aws["region"])
    lines = estimate(read_declarations(str(path)), where, assumed, date.today())
    show(
        _as_json(name, where, assumed, lines),
        as_json,
        lambda: _format_text(name, where, assumed, lines),
    )


def _as_json(name: str, region: str, usage: "Usage", lines: Sequence["CostLine"]) -> dict[str, Any]:
    return {
        "stack": name,
        "region": region,
        "usd_per_month": round(sum(line.usd for line in lines), 2),
        "usage": asdict(usage),
        "lines": [{**asdict(line), "usd": round(line.usd, 2)} for line in lines],
    }


def _format_text(name: str, region: str, usage: "Usage", lines: Sequence["CostLine"]) -> str:
    from berth.platforms.aws.tables import read_table

    rows = [
        (
            line.service,
            line.item,
            f"{line.quantity:,.10g}",
            line.unit,
            "no price" if line.unit_usd is None else f"{line.unit_usd:.4g}",
            f"{line.usd:,.2f}" + ("" if line.is_read else " *"),
        )
        for line in lines
    ]
    titles = ("service", "item", "quantity", "unit", "USD", "USD/month")
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [titles, *rows]
    )
    total = sum(line.usd for line in lines)
    options = ", ".join(
        f"--{field.name.replace('_', '-')} {getattr(usage, field.name):.10g}"
        for field in fields(usage)
    )
    prices = read_table("prices")
    return (
        f"{table}\n\nStack '{name}' in {region}: about {total:,.0f} USD per month with prices of "
        f"{prices['recorded']}, {prices['currency']}.\nAssumed: {options}.\n"
        f"{prices['sources']['spot_share']}\n"
        "* AWS's price page could not be read for this price; --json names each source."
    )
