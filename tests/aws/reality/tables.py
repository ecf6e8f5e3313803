"""Dated tables of facts about AWS, for the checks in this directory."""

import json
from pathlib import Path
from typing import Any

_DATA = Path(__file__).with_name("data")


def read_table(name: str) -> dict[str, Any]:
    """Return a dated table of facts about AWS.

    A table states its `source` and the day on which someone `checked` it.
    """
    table: dict[str, Any] = json.loads((_DATA / f"{name}.json").read_text())
    assert table["source"]
    assert table["checked"]
    return table
