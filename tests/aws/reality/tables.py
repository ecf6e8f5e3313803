"""Dated tables of facts about AWS, for the checks in this directory."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

_DATA = Path(__file__).with_name("data")
_PACKAGES = ("berth.platforms.aws.tables", "pulumi_berth.aws")


def read_table(name: str) -> dict[str, Any]:
    """Return a dated table of facts about AWS.

    Like Berth's own tables (`berth.platforms.aws.tables`), it states the day on which it was
    `recorded`, and its `sources`.
    """
    table: dict[str, Any] = json.loads((_DATA / f"{name}.json").read_text())
    return table


def list_tables() -> dict[str, dict[str, Any]]:
    """Return every dated table by its file's name: these, and those that Berth uses."""
    own = [Path(str(files(package))) for package in _PACKAGES]
    paths = [path for directory in (_DATA, *own) for path in sorted(directory.glob("*.json"))]
    return {path.name: json.loads(path.read_text()) for path in paths}
