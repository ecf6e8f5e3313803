"""Runs a rollout: deploys each step, watches it, and goes on or reverts."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from berth.errors import OperationError
from berth.operations.rollout.journal import Journal, Phase
from berth.operations.rollout.plan import SHADOW_STEP, Plan
from berth.operations.rollout.query import QueryWatch, Read
from berth.operations.rollout.readings import (
    Counts,
    Meter,
    choose_slow_seconds,
    estimate_quantile,
)
from berth.operations.rollout.sequential_test import SequentialTest, Verdict, estimate_events

_POLL_SECONDS = 1.0
# A 99th percentile needs a few requests beyond it.
_BASELINE_REQUESTS = 300
# The state of pods and containers costs more to read than metrics.
_POLLS_PER_CHECK = 5
_UNREADY_CHECKS = 2
# A monitoring system has new values every few seconds.
_POLLS_PER_QUERY = 2
# A gateway that is replaced does not answer for a moment.
_BLIND_SECONDS = 20.0
Result = TypeVar("Result")
_EVENTS = {
    "failed": "failed",
    "slow": "took longer than {slow:g} s",
    "different": "got another answer than from version {stable}",
}


class Target(Protocol):
    """The stack on which a rollout works."""

    def deploy(self, traffic: Mapping[str, int], shadow: str | None) -> None:
        """Deploy a traffic split of the model.

        Raises:
            OperationError: If the update fails, or something does not become ready.
        """

    def shift(self, traffic: Mapping[str, int]) -> bool:
        """Move the requests of clients to a traffic split, without recording it in the history.

        Returns:
            Whether they moved. If not, or after an error, `revert` moves them.

        Raises:
            OperationError: If they could not be moved.
        """

    def revert(self, traffic: Mapping[str, int]) -> None:
        """Deploy a traffic split without a shadow as fast as possible.

        Raises:
            OperationError: If the update fails.
        """

    def scrape(self) -> Mapping[str, str]:
        """Return the metrics of each program.

        Raises:
            OperationError: If they cannot be read.
        """

    def find_unready(self) -> list[str]:
        """Return what of the new version is not ready, one line each."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How a rollout measures time and waits, so that a simulation does not have to."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class _BreachError(Exception):
    """A guard was violated. The message states the numbers."""


class Controller:
    """Runs one rollout.

    Args:
        report: Gets one line about each event.
        show: Gets one line about the current step at each reading, which replaces the last one.
        read_query: Reads the guards from a monitoring system.
    """

    def __init__(
        self,
        journal: Journal,
        target: Target,
        *,
        report: Callable[[str], None],
        show: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
        read_query: Read = lambda _query, _since: None,
    ) -> None:
        self._journal = journal
        self._plan = journal.plan
        self._target = target
        self._report = report
        self._show = show
        self._clock = clock or Clock()
        self._read_query = read_query
        self._started = self._clock.now()

    def run(self) -> Phase:
        """Run the rollout from its current step to its end, and return how it ended.

        Raises:
            OperationError: If the stack could not be reverted.
        """
        journal, plan = self._journal, self._plan
        if journal.phase is Phase.REVERTING:
            return self.revert(journal.reason or "interrupted")
        try:
            meter = Meter(plan.model, self._target.scrape())
            self._choose_slow_seconds(meter)
            for index in range(journal.step, len(plan.steps)):
                journal.step = index
                self._run_step(plan.steps[index], meter)
        except (_BreachError, OperationError) as error:
            if journal.phase is Phase.STARTING:  # Nothing was changed.
                journal.reason = str(error)
                journal.enter(Phase.CANCELED)
                journal.save()
                raise
            return self.revert(str(error))
        journal.enter(Phase.PROMOTED)
        self._add_event(f"Version {plan.version} receives all traffic.")
        return journal.phase

    def revert(self, reason: str) -> Phase:
        """Return all traffic to the stable version.

        The requests move first, and then an update records it: an update of a cluster takes longer
        than clients of a bad version should wait.

        Raises:
            OperationError: If the update fails. The rollout can then be ended again.
        """
        journal, plan = self._journal, self._plan
        if journal.phase is not Phase.REVERTING:
            journal.enter(Phase.REVERTING)
        journal.reason = reason
        self._add_event(f"Reverting: {reason}")
        traffic = {plan.stable: 100, plan.version: 0}
        before = self._clock.now()
        try:
            is_shifted = self._target.shift(traffic)
        except OperationError as error:
            is_shifted = False
            self._add_event(f"The traffic could not be moved before the update: {error}")
        done = f"Version {plan.stable} receives all traffic again"
        if is_shifted:
            self._add_event(f"{done}, after {self._clock.now() - before:.1f} s.")
            done = "An update has recorded it"
        self._target.revert(traffic)
        journal.enter(Phase.REVERTED)
        self._add_event(f"{done}, after {self._clock.now() - before:.1f} s.")
        return journal.phase

    def cancel(self, reason: str) -> Phase:
        """End a rollout that has not changed anything."""
        journal = self._journal
        journal.reason = reason
        journal.enter(Phase.CANCELED)
        self._add_event(f"Ended before the first step: {reason}. Nothing was changed.")
        return journal.phase

    def end_without_stack(self) -> Phase:
        """End a rollout whose stack was destroyed. The configuration file has its traffic."""
        journal = self._journal
        journal.reason = "aborted"
        journal.enter(Phase.REVERTED)
        self._add_event(
            f"The stack is not deployed. The configuration file gives version {self._plan.stable} "
            "all traffic again."
        )
        return journal.phase

    def _add_event(self, text: str) -> None:
        self._journal.add_event(text)
        self._report(text)

    def _choose_slow_seconds(self, meter: Meter) -> None:
        """Find out from which duration a request is slow, from what the stable version does."""
        journal, plan = self._journal, self._plan
        journal.slow_seconds = journal.slow_seconds or plan.slow_seconds
        if journal.slow_seconds is not None or "slow" not in plan.limits:
            return
        deadline = self._clock.now() + plan.step_seconds
        if meter.count_before(plan.stable).timed < _BASELINE_REQUESTS:
            self._report(
                f"Waiting for {_BASELINE_REQUESTS} requests to version {plan.stable}, to learn how "
                "long they take. --slow-seconds states when a request is slow instead."
            )
        while (counts := meter.count_before(plan.stable)).timed < _BASELINE_REQUESTS:
            if self._clock.now() > deadline:
                raise OperationError(
                    f"Version {plan.stable} of {plan.model} has answered only {counts.timed} of "
                    f"{_BASELINE_REQUESTS} requests, from which Berth derives when a request is "
                    "slow. State it with --slow-seconds, or use --max-slow off."
                )
            self._show(
                f"waiting for {_BASELINE_REQUESTS} requests to version {plan.stable}: "
                f"{counts.timed}"
            )
            self._clock.sleep(_POLL_SECONDS)
            meter.advance(self._target.scrape())
        journal.slow_seconds = choose_slow_seconds(counts)
        self._add_event(
            f"99 % of the requests to version {plan.stable} took at most "
            f"{estimate_quantile(counts, 0.99):.3g} s. A request to version {plan.version} is slow "
            f"from {journal.slow_seconds:g} s."
        )

    def _run_step(self, step: int, meter: Meter) -> None:
        """Deploy a step and watch it until all guards are satisfied.

        Raises:
            _BreachError: If a guard is violated.
            OperationError: If the step cannot be deployed.
        """
        journal, plan = self._journal, self._plan
        journal.enter(Phase.DEPLOYING)
        name = describe_step(plan, step)
        self._add_event(f"Step {journal.step + 1} of {len(plan.steps)}: {name}")
        self._target.deploy(plan.traffic_of(step), plan.shadow_of(step))
        journal.enter(Phase.WATCHING)
        journal.save()
        watch = _Watch(plan, step, journal.slow_seconds or 0.0)
        meter.advance(self._scrape())
        watch.start(meter)
        queries = QueryWatch(plan.queries, self._read_query, since=time.time())
        started = self._clock.now()
        polls, unready_checks = 0, 0
        while True:
            self._clock.sleep(_POLL_SECONDS)
            elapsed = self._clock.now() - started
            meter.advance(self._scrape())
            watch.advance(meter)
            self._add_sample(step, watch)
            self._show(f"{name}, {elapsed:.0f} s: {watch.describe()}")
            watch.check()
            if polls % _POLLS_PER_QUERY == 0:
                self._retry(queries.advance, "the guards' queries could not be read")
                if violated := queries.find_violated():
                    raise _BreachError("; ".join(violated))
            polls += 1
            if polls % _POLLS_PER_CHECK == 0:
                unready = self._target.find_unready()
                unready_checks = unready_checks + 1 if unready else 0
                if unready_checks >= _UNREADY_CHECKS:
                    raise _BreachError("; ".join(unready))
            if elapsed >= plan.bake_seconds and watch.is_good and queries.is_good:
                self._report("  " + ", ".join([watch.describe(), *queries.describe()]))
                return
            if elapsed >= plan.step_seconds:
                raise _BreachError(
                    f"no decision within {plan.step_seconds:g} s: "
                    f"{', '.join([watch.describe(), *queries.describe()])}. Send more requests, or "
                    "use larger limits or --step-timeout."
                )

    def _scrape(self) -> Mapping[str, str]:
        """Return the metrics. A short interruption is waited out."""
        return self._retry(self._target.scrape, "the metrics could not be read")

    def _retry(self, read: Callable[[], Result], problem: str) -> Result:
        deadline = self._clock.now() + _BLIND_SECONDS
        while True:
            try:
                return read()
            except OperationError as error:
                if self._clock.now() > deadline:
                    raise _BreachError(f"{problem} for {_BLIND_SECONDS:g} s: {error}") from error
            self._clock.sleep(_POLL_SECONDS)

    def _add_sample(self, step: int, watch: "_Watch") -> None:
        self._journal.add_sample(
            {"seconds": round(self._clock.now() - self._started, 1), "step": step, **watch.numbers}
        )


def describe_step(plan: Plan, step: int) -> str:
    """Return what the new version receives in a step."""
    if step == SHADOW_STEP:
        return f"version {plan.version} receives duplicates of all requests"
    return f"version {plan.version} receives {step} % of the traffic"


class _Watch:
    """The guards of one step."""

    def __init__(self, plan: Plan, step: int, slow_seconds: float) -> None:
        self._plan = plan
        self._slow_seconds = slow_seconds
        self._tests = {
            kind: SequentialTest(plan.rates_of(kind), plan.errors) for kind in plan.guards_of(step)
        }
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
        """Raise _BreachError if a guard is violated."""
        for kind, test in self._tests.items():
            if test.verdict is Verdict.BAD:
                what = _EVENTS[kind].format(slow=self._slow_seconds, stable=self._plan.stable)
                raise _BreachError(
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
