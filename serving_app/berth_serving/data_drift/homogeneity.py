"""Tests whether two samples of rows come from the same distribution.

Pearson's chi-squared test of homogeneity compares the counts of both samples in the same bins. It
takes into account that the reference is itself a sample of limited size.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Counts = np.ndarray[Any, np.dtype[np.int64]]

MIN_EXPECTED = 10.0
"""Rows that both samples must be expected to have in a bin. Rarer bins are merged: the
approximation of the test by the chi-squared distribution is wrong for a few rows."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of two samples.

    Attributes:
        p_value: Probability of a difference of this size or more between samples of the same
            distribution.
        psi: Population stability index, the size of the difference. It is 0 for equal shares.
    """

    p_value: float
    psi: float


def compare_counts(reference: Counts, window: Counts) -> Comparison:
    """Compare two samples by their number of rows in each bin.

    Without two bins that are frequent enough there is no evidence, so the p-value is 1.
    """
    counts = _merge_rare(np.array([reference, window], np.float64))
    totals = counts.sum(axis=1, keepdims=True)
    if counts.shape[1] < 2 or not totals.all():
        return Comparison(1.0, 0.0)
    expected = totals * counts.sum(axis=0) / totals.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    # Half a row more in each bin keeps the logarithm finite.
    shares = (counts + 0.5) / (totals + 0.5 * counts.shape[1])
    psi = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    return Comparison(chi_squared_tail(statistic, counts.shape[1] - 1), psi)


def _merge_rare(counts: Any) -> Any:
    """Return the counts with all rare bins merged into one that is frequent enough."""
    together = counts.sum(axis=0)
    smaller = counts.sum(axis=1).min()
    expected = smaller * together / max(1.0, together.sum())
    order = np.argsort(expected, kind="stable")
    rare = int((expected < MIN_EXPECTED).sum())
    if not rare:
        return counts
    sums = np.cumsum(expected[order])
    # The smallest number of bins that contains all rare ones and is frequent enough.
    while rare < len(order) and 0 < sums[rare - 1] < MIN_EXPECTED:
        rare += 1
    merged = counts[:, order[:rare]].sum(axis=1, keepdims=True)
    rest = counts[:, order[rare:]]
    return np.concatenate([merged, rest], axis=1) if merged.any() else rest


def chi_squared_tail(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-squared variable exceeds `statistic`.

    The sum for a whole number of degrees of freedom:
    https://dlmf.nist.gov/8.4#E8 and https://dlmf.nist.gov/8.4#E14.
    """
    half = statistic / 2
    if degrees % 2:
        total, term, power = math.erfc(math.sqrt(half)), math.sqrt(half / math.pi) * 2, 1.5
    else:
        total, term, power = 0.0, 1.0, 1.0
    total_terms = 0.0
    for _ in range(degrees // 2):
        total_terms += term
        term *= half / power
        power += 1
    return min(1.0, total + math.exp(-half) * total_terms)
