"""The guards of a rollout decide with the error rates that they state."""

import math

import numpy as np
import pytest

from berth.operations.rollout.sequential_test import (
    ErrorRates,
    Rates,
    SequentialTest,
    Verdict,
    estimate_events,
)

RATES = Rates(acceptable=0.02, unacceptable=0.1)
ERRORS = ErrorRates(false_reversal=0.05, false_promotion=0.01)
RUNS = 400


def run_test(share: float, seed: int, *, batch: int = 1) -> tuple[Verdict, int]:
    """Run a test on random events until it decides, and return the verdict and the events."""
    random = np.random.default_rng(seed)
    test = SequentialTest(RATES, ERRORS)
    while test.verdict is Verdict.OPEN:
        test.add(events=batch, bad=int(random.binomial(batch, share)))
    return test.verdict, test.events


@pytest.mark.parametrize("batch", [1, 17], ids=["every event", "batches"])
@pytest.mark.parametrize(
    ("share", "wrong", "limit"),
    [(0.02, Verdict.BAD, 0.05), (0.1, Verdict.GOOD, 0.01)],
    ids=["acceptable", "unacceptable"],
)
def test_wrong_verdicts_are_as_rare_as_stated(
    share: float, wrong: Verdict, limit: float, batch: int
) -> None:
    count = sum(run_test(share, seed, batch=batch)[0] is wrong for seed in range(RUNS))
    # Three standard deviations of a binomial number of runs.
    assert count <= RUNS * limit + 3 * math.sqrt(RUNS * limit)


def test_number_of_events_is_estimated() -> None:
    events = [run_test(RATES.acceptable, seed)[1] for seed in range(300)]
    assert np.mean(events) == pytest.approx(estimate_events(RATES, ERRORS), rel=0.25)


def test_bad_verdict_is_final_and_good_one_is_not() -> None:
    test = SequentialTest(RATES, ERRORS)
    assert test.add(events=100, bad=0) is Verdict.GOOD
    assert test.add(events=100, bad=100) is Verdict.BAD
    assert test.add(events=10_000, bad=0) is Verdict.BAD


def test_what_disturbs_both_versions_is_not_held_against_the_new_one() -> None:
    separate, common = SequentialTest(RATES, ERRORS), SequentialTest(RATES, ERRORS)
    for _ in range(20):
        separate.add(events=10, bad=3)
        common.add(events=10, bad=3, other_share=0.3)
    assert separate.verdict is Verdict.BAD
    assert common.verdict is not Verdict.BAD


def test_events_during_an_outage_of_both_versions_tell_nothing() -> None:
    test = SequentialTest(RATES, ERRORS)
    test.add(events=50, bad=50, other_share=0.99)
    assert (test.verdict, test.log_ratio) == (Verdict.OPEN, 0.0)


@pytest.mark.parametrize(
    ("acceptable", "unacceptable"), [(0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.5, 1)]
)
def test_impossible_rates_are_rejected(acceptable: float, unacceptable: float) -> None:
    with pytest.raises(ValueError, match="rates must satisfy"):
        Rates(acceptable=acceptable, unacceptable=unacceptable)
