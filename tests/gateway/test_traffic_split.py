"""Split: exact over each round of 100, and spread over it."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.traffic import TrafficSplit


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    """Percents of up to five versions with the sum 100."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=4)))
    edges = [0, *cuts, 100]
    return {str(i): end - start for i, (start, end) in enumerate(pairwise(edges))}


@given(weights(), st.integers(1, 3))
def test_each_round_is_exact(percents: dict[str, int], rounds: int) -> None:
    split = TrafficSplit(percents)
    for _ in range(rounds):
        picked = Counter(split.next_version() for _ in range(100))
        assert picked == {version: percent for version, percent in percents.items() if percent}


@given(weights())
def test_any_hundred_in_a_row_are_exact(percents: dict[str, int]) -> None:
    split = TrafficSplit(percents)
    picks = [split.next_version() for _ in range(250)]
    for start in range(150):
        window = Counter(picks[start : start + 100])
        assert window == {version: percent for version, percent in percents.items() if percent}


@pytest.mark.parametrize(("percent", "gap"), [(1, 100), (10, 10), (25, 4), (50, 2)])
def test_a_canary_is_spread_evenly(percent: int, gap: int) -> None:
    split = TrafficSplit({"old": 100 - percent, "canary": percent})
    picks = [split.next_version() for _ in range(1000)]
    at = [i for i, version in enumerate(picks) if version == "canary"]
    assert {later - earlier for earlier, later in pairwise(at)} == {gap}


def test_no_weight_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="above 0"):
        TrafficSplit({"1": 0})
