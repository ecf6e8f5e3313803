"""The resources that dev and prod declare, as plain data, without an engine."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from berth.operations.declarations import read_declarations
from tests.repository import REPOSITORY

_DATA = Path(__file__).with_name("data")


@cache
def read_stack(name: str) -> list[dict[str, Any]]:
    """Return the resources that `Pulumi.<name>.yaml` declares: `type`, `name`, `inputs`, `urn`.

    Outputs of other resources are text such as `arn of aws:iam/role:Role nodes`.
    """
    return read_declarations(str(REPOSITORY / f"Pulumi.{name}.yaml"))


def select(resources: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Return the inputs of the resources of one type, by logical name."""
    return {one["name"]: one["inputs"] for one in resources if one["type"] == kind}


def read_table(name: str) -> dict[str, Any]:
    """Return a dated table of facts about AWS.

    A table states its `source` and the day on which someone `checked` it.
    """
    table: dict[str, Any] = json.loads((_DATA / f"{name}.json").read_text())
    assert table["source"]
    assert table["checked"]
    return table
