"""Facts about AWS that AWS publishes outside of any API: capacities, quotas and prices.

Each file states the day on which it was recorded (`recorded`), and where its parts come from
(`sources`).
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def read_table(name: str) -> dict[str, Any]:
    """Return the content of a table, such as `quotas`."""
    text = (files(__package__) / f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
