"""Checks the metrics of a model card."""

import math
from collections.abc import Mapping

from berth.packaging.errors import PackageError


def check_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics as numbers.

    Raises:
        PackageError: If one of them has no name or is not a finite number.
    """
    checked: dict[str, float] = {}
    for key, value in metrics.items():
        try:
            checked[str(key)] = float(value)
        except (TypeError, ValueError):
            raise PackageError(f"metric {key!r}: {value!r} is not a number") from None
        if not key or not math.isfinite(checked[str(key)]):
            raise PackageError(
                f"metric {key!r}: {value} is not valid. Use a finite number and a name."
            )
    return checked
