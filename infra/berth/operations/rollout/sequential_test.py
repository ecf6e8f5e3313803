"""The sequential test that decides whether events of a version are too frequent.

Wald's sequential probability ratio test ("Sequential Tests of Statistical Hypotheses", Annals of
Mathematical Statistics 16, 1945) compares two rates of a bad event, such as a failed request. By
Ville's inequality, both error rates hold at whatever moment the counts are read, and so for counts
that are read every second.
"""

import math
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a test has shown so far."""

    OPEN = "open"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The two rates that a test tells apart. Between them, either verdict is right.

    Attributes:
        acceptable: Share of bad events up to which a version is good, above 0.
        unacceptable: Share from which it is bad, below 1 and above `acceptable`.
    """

    acceptable: float
    unacceptable: float

    def __post_init__(self) -> None:
        if not 0 < self.acceptable < self.unacceptable < 1:
            raise ValueError(f"rates must satisfy 0 < {self.acceptable} < {self.unacceptable} < 1")


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """How often a test may be wrong.

    Attributes:
        false_reversal: Probability that a version with at most the acceptable rate is found bad.
        false_promotion: Probability that a version with at least the unacceptable rate is found
            good.
    """

    false_reversal: float
    false_promotion: float


class SequentialTest:
    """One test over the independent events of one version.

    Whatever disturbs all versions at the same time, such as a busy machine, must not be held
    against the new one. If a share of the other version's events was bad in the same moment, both
    rates of that moment are higher: the acceptable one is that share, and their distance stays.

    Attributes:
        events: Number of events so far.
        bad: Number of bad ones among them.
        log_ratio: Logarithm of how much likelier the events are at the unacceptable rate.
    """

    def __init__(self, rates: Rates, errors: ErrorRates) -> None:
        self.rates = rates
        self.events = 0
        self.bad = 0
        self.log_ratio = 0.0
        self._verdict = Verdict.OPEN
        self._upper = -math.log(errors.false_reversal)
        self._lower = math.log(errors.false_promotion)

    @property
    def verdict(self) -> Verdict:
        """The verdict. BAD is final; GOOD can still become BAD with further events."""
        return self._verdict

    @property
    def share(self) -> float | None:
        """Share of bad events, or None without events."""
        return self.bad / self.events if self.events else None

    @property
    def progress(self) -> float:
        """How much of the evidence for GOOD has been seen, from 0 to 1."""
        if self._verdict is Verdict.GOOD:
            return 1.0
        return min(max(self.log_ratio / self._lower, 0.0), 1.0)

    def add(self, *, events: int, bad: int, other_share: float = 0.0) -> Verdict:
        """Add events that happened since the last call, and return the verdict.

        Args:
            other_share: Share of bad events of the other version in the same time.
        """
        bad = min(bad, events)
        self.events += events
        self.bad += bad
        low = max(self.rates.acceptable, other_share)
        high = low + self.rates.unacceptable - self.rates.acceptable
        # If nearly all events of the other version are bad, these tell nothing.
        if high < 1:
            self.log_ratio += bad * math.log(high / low)
            self.log_ratio += (events - bad) * math.log((1 - high) / (1 - low))
        if self.log_ratio >= self._upper:
            self._verdict = Verdict.BAD
        elif self._verdict is Verdict.OPEN and self.log_ratio <= self._lower:
            self._verdict = Verdict.GOOD
        return self._verdict


def estimate_events(rates: Rates, errors: ErrorRates) -> int:
    """Return how many events a version at the acceptable rate needs on average to be found good.

    Wald's approximation: the log ratio moves to the lower bound with its mean per event.
    """
    p, q = rates.acceptable, rates.unacceptable
    drift = p * math.log(q / p) + (1 - p) * math.log((1 - q) / (1 - p))
    return math.ceil(math.log(errors.false_promotion) / drift)
