"""Comparison of the metrics in model cards: which of two versions is worse, metric by metric.

A card has only names and numbers, so the direction of a metric follows from its name. The endings
are scikit-learn's convention: functions that end with `_score` return a value to maximize, and
those that end with `_error`, `_loss` or `_deviance` a value to minimize
(https://scikit-learn.org/stable/modules/model_evaluation.html). A name without a known direction is
reported and not judged.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")

HIGHER_IS_BETTER = frozenset(
    {
        *("accuracy", "acc", "precision", "recall", "sensitivity", "specificity", "f", "f1", "f2"),
        *("auc", "auroc", "auprc", "r2", "kappa", "mcc", "matthews", "jaccard", "iou", "miou"),
        *("dice", "ndcg", "mrr", "map", "ap", "bleu", "rouge", "explained", "silhouette", "gini"),
    }
)
"""Words in the name of a metric whose higher value is better."""
LOWER_IS_BETTER = frozenset(
    {
        *("loss", "error", "err", "deviance", "rmse", "mse", "mae", "mape", "smape", "wape"),
        *("rmsle", "msle", "brier", "perplexity", "wer", "cer", "ece", "fpr", "fnr", "hamming"),
        *("entropy", "pinball"),
    }
)
"""Words in the name of a metric whose lower value is better."""
# These words measure the spread or the data, not the model: `accuracy_std`, `f1_rows`.
_OTHER_QUANTITIES = frozenset(
    {"std", "stddev", "stderr", "var", "ci", "count", "rows", "samples", "support", "threshold"}
)


class Direction(StrEnum):
    """Which value of a metric is better."""

    HIGHER = "higher"
    LOWER = "lower"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """How a metric of the promoted version compares with that of the version that runs."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "worse"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """One metric of two versions.

    Attributes:
        name: Name in the model card.
        before: Value of the version that runs. None if its card does not have the metric.
        after: Value of the promoted version, likewise.
        direction: Which value is better.
        outcome: How the two compare.
    """

    name: str
    before: float | None
    after: float | None
    direction: Direction
    outcome: Outcome


def find_direction(name: str) -> Direction:
    """Return which value of a metric is better, by its name.

    A leading `neg` reverses it, as in scikit-learn's `neg_log_loss`.
    """
    words = _split(name)
    if not _OTHER_QUANTITIES.isdisjoint(words):
        return Direction.UNKNOWN
    is_higher = not HIGHER_IS_BETTER.isdisjoint(words)
    is_lower = not LOWER_IS_BETTER.isdisjoint(words)
    if not is_higher and not is_lower:
        is_higher = words[-1:] == ["score"]
    if is_higher == is_lower:
        return Direction.UNKNOWN
    if words[0] == "neg":
        is_higher = not is_higher
    return Direction.HIGHER if is_higher else Direction.LOWER


def compare_metrics(
    before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[MetricChange, ...]:
    """Return how each metric of two model cards compares, by name.

    Args:
        before: Metrics of the version that runs.
        after: Metrics of the promoted version.
    """
    return tuple(
        MetricChange(
            name=name,
            before=before.get(name),
            after=after.get(name),
            direction=find_direction(name),
            outcome=_compare(find_direction(name), before.get(name), after.get(name)),
        )
        for name in sorted({*before, *after})
    )


def _compare(direction: Direction, before: float | None, after: float | None) -> Outcome:
    if before is None or after is None or direction is Direction.UNKNOWN:
        return Outcome.NOT_JUDGED
    if not math.isfinite(before):
        return Outcome.NOT_JUDGED
    if math.isnan(after):
        return Outcome.WORSE
    if before == after:
        return Outcome.EQUAL
    is_better = (after > before) == (direction is Direction.HIGHER)
    return Outcome.BETTER if is_better else Outcome.WORSE


def _split(name: str) -> list[str]:
    """Return the words of a name: `f1_macro`, `valAccuracy` and `top5-accuracy` have two each.

    A digit belongs to the word before it only in names such as `f1` and `r2`.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    joined: list[str] = []
    for word in words:
        if word.isdigit() and joined and f"{joined[-1]}{word}" in HIGHER_IS_BETTER:
            joined[-1] += word
        elif not word.isdigit():
            joined.append(word)
    return joined
