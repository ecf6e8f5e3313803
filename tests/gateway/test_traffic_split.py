"""The traffic split is exact over each 100 requests, and spreads the versions evenly."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.traffic import RouteSplits, TrafficSplit


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    """Generate percentages of up to five versions with the sum 100."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=4)))
    edges = [0, *cuts, 100]
    return {str(i): end - start for i, (start, end) in enumerate(pairwise(edges))}


@given(weights(), st.integers(1, 3))
def test_each_round_matches_percentages_exactly(percentages: dict[str, int], rounds: int) -> None:
    split = TrafficSplit(percentages)
    for _ in range(rounds):
        selected = Counter(split.next_version() for _ in range(100))
        assert selected == {version: percent for version, percent in percentages.items() if percent}


@given(weights())
def test_any_hundred_consecutive_requests_match_percentages_exactly(
    percentages: dict[str, int],
) -> None:
    split = TrafficSplit(percentages)
    selections = [split.next_version() for _ in range(250)]
    for start in range(150):
        window = Counter(selections[start : start + 100])
        assert window == {version: percent for version, percent in percentages.items() if percent}


@pytest.mark.parametrize(("percent", "gap"), [(1, 100), (10, 10), (25, 4), (50, 2)])
def test_canary_requests_are_spread_evenly(percent: int, gap: int) -> None:
    split = TrafficSplit({"old": 100 - percent, "canary": percent})
    selections = [split.next_version() for _ in range(1000)]
    positions = [i for i, version in enumerate(selections) if version == "canary"]
    assert {later - earlier for earlier, later in pairwise(positions)} == {gap}


def test_split_without_positive_weight_is_rejected() -> None:
    with pytest.raises(ValueError, match="above 0"):
        TrafficSplit({"1": 0})


def test_split_of_a_route_continues_until_its_weights_change() -> None:
    splits = RouteSplits()

    def select(value: str) -> str:
        split = splits.find("m", value, ["1", "2"])
        assert split is not None
        return split.next_version()

    assert Counter(select("1=90,2=10") for _ in range(100)) == {"1": 90, "2": 10}
    assert Counter(select("1=0,2=100") for _ in range(10)) == {"2": 10}


@pytest.mark.parametrize(
    "value", ["", "1", "1=", "1=x", "1=0", "1=-5", "3=100", "1=50,3=50", "1=1000", "1=90;2=10"]
)
def test_invalid_weights_of_a_route_are_ignored(value: str) -> None:
    assert RouteSplits().find("m", value, ["1", "2"]) is None
