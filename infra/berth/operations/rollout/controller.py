"""Runs a rollout: deploys each step, watches it, and goes on or reverts."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from berth.errors import OperationError
from berth.operations.rollout.guards import BreachError, StepGuards
from berth.operations.rollout.journal import Journal, Phase
from berth.operations.rollout.plan import SHADOW_STEP, Plan
from berth.operations.rollout.query import QueryWatch, Read
from berth.operations.rollout.readings import Meter, choose_slow_seconds, estimate_quantile

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


class Target(Protocol):
    """The stack on which a rollout works."""

    def deploy(
        self, traffic: Mapping[str, int], shadow: str | None, look: Callable[[], None]
    ) -> None:
        """Deploy a traffic split of the model.

        Args:
            look: Is called about once per second until everything is ready. It may call `scrape`
                and `shift`, and runs in another thread.

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
        self._reverting_since: float | None = None
        self._is_moved_back = False

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
        except (BreachError, OperationError) as error:
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
        self._start_to_revert(reason)
        is_shifted = self._move_back()
        self._target.revert(self._old_traffic)
        self._journal.enter(Phase.REVERTED)
        done = "An update has recorded it" if is_shifted else self._describe_old_traffic()
        self._add_event(f"{done}, after {self._measure_revert():.1f} s.")
        return self._journal.phase

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

    @property
    def _old_traffic(self) -> dict[str, int]:
        return {self._plan.stable: 100, self._plan.version: 0}

    def _describe_old_traffic(self) -> str:
        return f"Version {self._plan.stable} receives all traffic again"

    def _start_to_revert(self, reason: str) -> None:
        if self._journal.phase is not Phase.REVERTING:
            self._journal.enter(Phase.REVERTING)
        self._journal.reason = reason
        if self._reverting_since is None:
            self._reverting_since = self._clock.now()
            self._add_event(f"Reverting: {reason}")

    def _move_back(self) -> bool:
        """Return the requests to the stable version without an update, if that is possible."""
        try:
            if not self._target.shift(self._old_traffic):
                return False
        except OperationError as error:
            self._add_event(f"The traffic could not be moved before the update: {error}")
            return False
        if not self._is_moved_back:
            self._is_moved_back = True
            self._add_event(
                f"{self._describe_old_traffic()}, after {self._measure_revert():.1f} s."
            )
        return True

    def _measure_revert(self) -> float:
        assert self._reverting_since is not None
        return self._clock.now() - self._reverting_since

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
            BreachError: If a guard is violated.
            OperationError: If the step cannot be deployed.
        """
        journal, plan = self._journal, self._plan
        journal.enter(Phase.DEPLOYING)
        name = describe_step(plan, step)
        self._add_event(f"Step {journal.step + 1} of {len(plan.steps)}: {name}")
        self._deploy(step, meter)
        journal.enter(Phase.WATCHING)
        journal.save()
        meter.advance(self._scrape())
        guards = StepGuards(plan, plan.guards_of(step), journal.slow_seconds or 0.0)
        guards.start(meter)
        queries = QueryWatch(plan.queries, self._read_query, since=time.time())
        started = self._clock.now()
        polls, unready_checks = 0, 0
        while True:
            self._clock.sleep(_POLL_SECONDS)
            elapsed = self._clock.now() - started
            meter.advance(self._scrape())
            guards.advance(meter)
            self._add_sample(step, guards)
            self._show(f"{name}, {elapsed:.0f} s: {guards.describe()}")
            guards.check()
            if polls % _POLLS_PER_QUERY == 0:
                self._retry(queries.advance, "the guards' queries could not be read")
                if violated := queries.find_violated():
                    raise BreachError("; ".join(violated))
            polls += 1
            if polls % _POLLS_PER_CHECK == 0:
                unready = self._target.find_unready()
                unready_checks = unready_checks + 1 if unready else 0
                if unready_checks >= _UNREADY_CHECKS:
                    raise BreachError("; ".join(unready))
            numbers = ", ".join([guards.describe(), *queries.describe()])
            if elapsed >= plan.bake_seconds and guards.is_good and queries.is_good:
                self._report(f"  {numbers}")
                return
            if elapsed >= plan.step_seconds:
                raise BreachError(
                    f"no decision within {plan.step_seconds:g} s: {numbers}. Send more requests, "
                    "or use larger limits or --step-timeout."
                )

    def _deploy(self, step: int, meter: Meter) -> None:
        """Deploy a step. If its version fails meanwhile, move the requests back at once.

        An update of a cluster can move the traffic long before it ends. That nothing failed during
        an update, while processes start and end, is no evidence for the version.

        Raises:
            BreachError: If a guard is violated.
            OperationError: If the step cannot be deployed.
        """
        plan, breach = self._plan, ""
        kinds = plan.update_guards_of(step)
        guards = StepGuards(plan, kinds, self._journal.slow_seconds or 0.0)
        guards.start(meter)

        def look() -> None:
            nonlocal breach
            served = meter.count(plan.version).requests
            try:
                meter.advance(self._target.scrape())
                # The update may move the traffic only after it was moved back.
                if breach and meter.count(plan.version).requests > served:
                    self._target.shift(self._old_traffic)
            except OperationError:
                return  # A gateway that is replaced does not answer for a moment.
            if breach:
                return
            guards.advance(meter)
            self._add_sample(step, guards)
            try:
                guards.check()
            except BreachError as error:
                breach = f"{error} (during the update)"
                self._start_to_revert(breach)
                self._move_back()

        try:
            self._target.deploy(
                plan.traffic_of(step), plan.shadow_of(step), look if kinds else _ignore
            )
        except OperationError as error:
            raise BreachError(f"{breach}; {error}" if breach else str(error)) from error
        if breach:
            raise BreachError(breach)

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
                    raise BreachError(f"{problem} for {_BLIND_SECONDS:g} s: {error}") from error
            self._clock.sleep(_POLL_SECONDS)

    def _add_sample(self, step: int, guards: StepGuards) -> None:
        self._journal.add_sample(
            {"seconds": round(self._clock.now() - self._started, 1), "step": step, **guards.numbers}
        )


def _ignore() -> None:
    """Nothing to look at during the update."""


def describe_step(plan: Plan, step: int) -> str:
    """Return what the new version receives in a step."""
    if step == SHADOW_STEP:
        return f"version {plan.version} receives duplicates of all requests"
    return f"version {plan.version} receives {step} % of the traffic"
