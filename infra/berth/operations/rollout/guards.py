"""The guards of one step of a rollout: what a version may do in it."""

from collections.abc import Iterable

from berth.operations.rollout.plan import Plan
from berth.operations.rollout.readings import Counts, Meter
from berth.operations.rollout.sequential_test import SequentialTest, Verdict, estimate_events

_EVENTS = {
    "failed": "failed",
    "slow": "took longer than {slow:g} s",
    "different": "got another answer than from version {stable}",
}


class BreachError(Exception):
    """A guard was violated. The message states the numbers."""


class StepGuards:
    """Guards of one step, or of its update.

    Args:
        kinds: The kinds of events to watch.
        slow_seconds: Duration from which a request is slow.
    """

    def __init__(self, plan: Plan, kinds: Iterable[str], slow_seconds: float) -> None:
        self._plan = plan
        self._slow_seconds = slow_seconds
        self._tests = {kind: SequentialTest(plan.rates_of(kind), plan.errors) for kind in kinds}
        self._own: Counts | None = None
        self._other: Counts | None = None

    def start(self, meter: Meter) -> None:
        """Watch what happens from now on."""
        self._own = meter.count(self._plan.version)
        self._other = meter.count(self._plan.stable)

    def advance(self, meter: Meter) -> None:
        """Add what has happened since the last call."""
        own, other = meter.count(self._plan.version), meter.count(self._plan.stable)
        for kind, test in self._tests.items():
            events, bad = self._difference(kind, self._own, own)
            others, others_bad = self._difference(kind, self._other, other)
            is_comparable = kind != "different" and others > 0
            share = others_bad / others if is_comparable else 0.0
            test.add(events=events, bad=bad, other_share=share)
        self._own, self._other = own, other

    def _difference(self, kind: str, before: Counts | None, after: Counts) -> tuple[int, int]:
        assert before is not None
        events, bad = self._select(kind, after)
        events_before, bad_before = self._select(kind, before)
        return events - events_before, bad - bad_before

    def _select(self, kind: str, counts: Counts) -> tuple[int, int]:
        if kind == "failed":
            return counts.requests, counts.failed
        if kind == "slow":
            return counts.timed, counts.count_slower(self._slow_seconds)
        return counts.compared, counts.different

    def check(self) -> None:
        """Raise BreachError if a guard is violated."""
        for kind, test in self._tests.items():
            if test.verdict is Verdict.BAD:
                what = _EVENTS[kind].format(slow=self._slow_seconds, stable=self._plan.stable)
                raise BreachError(
                    f"{test.bad:,} of {test.events:,} requests to version {self._plan.version} "
                    f"({test.bad / test.events:.1%}) {what}; a version is good up to "
                    f"{test.rates.acceptable:.2%} and bad from {test.rates.unacceptable:.2%}"
                )

    @property
    def is_good(self) -> bool:
        """Whether every guard is satisfied."""
        return all(test.verdict is Verdict.GOOD for test in self._tests.values())

    @property
    def numbers(self) -> dict[str, float]:
        """The events and the bad ones of each kind in this step."""
        return {
            name: value
            for kind, test in self._tests.items()
            for name, value in ((f"{kind}_events", test.events), (f"{kind}_bad", test.bad))
        }

    def describe(self) -> str:
        """Return the numbers of each guard, and how much of the evidence for it has been seen."""
        return ", ".join(
            f"{test.bad:,} of {test.events:,} {kind} ({self._describe_progress(test)})"
            for kind, test in self._tests.items()
        )

    def _describe_progress(self, test: SequentialTest) -> str:
        if test.verdict is Verdict.GOOD:
            return "good"
        needed = estimate_events(test.rates, self._plan.errors)
        return f"{test.progress:.0%} of the evidence from about {needed:,}"
