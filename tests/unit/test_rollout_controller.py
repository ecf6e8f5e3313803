"""A rollout goes on, reverts, and continues after an interruption at any moment."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from berth.errors import OperationError
from berth.operations.rollout.controller import Clock, Controller
from berth.operations.rollout.journal import Journal, Phase, hold, journal_path, read_journal
from berth.operations.rollout.plan import Plan, parse_steps
from berth.operations.rollout.query import parse_queries
from berth.operations.rollout.report import build_report


class Killed(BaseException):
    """The process ends as with `kill -9`."""


@dataclass
class Stack:
    """A stack whose new version fails some of its requests, and whose clock moves when it waits."""

    failing_percent: int = 0
    requests_per_second: int = 50
    now: float = 0.0
    traffic: Mapping[str, int] = field(default_factory=lambda: {"1": 100, "2": 0})
    shadow: str | None = None
    deployed: list[tuple[int, str | None]] = field(default_factory=list)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unready: list[str] = field(default_factory=list)
    update_seconds: int = 2
    can_shift: bool = True
    shifted: list[int] = field(default_factory=list)
    hook: Callable[[str], None] = lambda _: None

    def deploy(
        self,
        traffic: Mapping[str, int],
        shadow: str | None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Deploy a split: the traffic moves after half of the update."""
        self.hook("before deploy")
        for second in range(self.update_seconds):
            if second == self.update_seconds // 2:
                self.traffic, self.shadow = dict(traffic), shadow
                self.deployed.append((traffic.get("2", 0), shadow))
            self.sleep(1)
            look()
        self.hook("after deploy")

    def shift(self, traffic: Mapping[str, int]) -> bool:
        self.hook("before shift")
        self.shifted.append(traffic.get("2", 0))
        if self.can_shift:
            self.traffic, self.shadow = dict(traffic), None
        return self.can_shift

    def revert(self, traffic: Mapping[str, int]) -> None:
        self.hook("before revert")
        self.deploy(traffic, None)

    def find_unready(self) -> list[str]:
        return self.unready

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        number = round(self.requests_per_second * seconds)
        self._answer("1", number * self.traffic["1"] // 100, 0)
        own = number * self.traffic["2"] // 100 + (number if self.shadow else 0)
        self._answer("2", own, own * self.failing_percent // 100)
        if self.shadow:
            self.counts["berth_gateway_shadow_compared_total", "2", 'outcome="equal"'] += number

    def _answer(self, version: str, number: int, failed: int) -> None:
        self.counts["berth_requests_total", version, 'code="500"'] += failed
        self.counts["berth_requests_total", version, 'code="200"'] += number - failed
        self.counts["berth_request_seconds_bucket", version, 'le="0.005"'] += number
        self.counts["berth_request_seconds_bucket", version, 'le="0.01"'] += number
        self.counts["berth_request_seconds_bucket", version, 'le="0.025"'] += number
        self.counts["berth_request_seconds_bucket", version, 'le="+Inf"'] += number

    def scrape(self) -> Mapping[str, str]:
        self.hook("scrape")
        lines = [
            f'{name}{{model="m",version="{version}",{label}}} {number}'
            for (name, version, label), number in self.counts.items()
        ]
        return {"stack": "\n".join(lines) + "\n"}


def build_journal(directory: Path, steps: str = "shadow,10,100", **settings: float) -> Journal:
    plan = Plan(
        model="m",
        version="2",
        stable="1",
        steps=parse_steps(steps),
        bake_seconds=settings.get("bake_seconds", 10),
        step_seconds=settings.get("step_seconds", 600),
        limits={"failed": 0.01, "slow": 0.05, "different": 0.2},
    )
    return Journal(path=directory / "rollout.json", plan=plan)


def run(journal: Journal, stack: Stack) -> Phase:
    lines: list[str] = []
    clock = Clock(now=lambda: stack.now, sleep=stack.sleep)
    return Controller(journal, stack, report=lines.append, clock=clock).run()


def test_good_version_receives_all_traffic_step_by_step(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path), Stack()
    assert run(journal, stack) is Phase.PROMOTED
    assert stack.deployed == [(0, "2"), (10, None), (100, None)]
    assert journal.slow_seconds == 0.025


def test_failing_version_is_reverted_with_the_numbers(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100"), Stack(failing_percent=20)
    assert run(journal, stack) is Phase.REVERTED
    assert stack.deployed == [(10, None), (0, None)]
    assert journal.reason is not None
    assert (
        "requests to version 2 (20.0%) failed; a version is good up to 0.10% and bad from 1.00%"
        in journal.reason
    )


def test_version_that_fails_during_an_update_loses_its_traffic_before_the_update_ends(
    tmp_path: Path,
) -> None:
    journal, stack = build_journal(tmp_path, "50,100"), Stack(failing_percent=20, update_seconds=60)
    left: list[int] = []
    moved: list[float] = []

    def follow(moment: str) -> None:
        if moment == "before shift":
            moved.append(stack.now)
        if moment == "after deploy":
            left.append(stack.traffic["2"])

    stack.sleep(10)
    stack.hook = follow
    assert run(journal, stack) is Phase.REVERTED
    # The update moves the traffic after 30 s, and the first look after that sees the failures.
    assert moved[0] == 10 + 31
    # The update of the step and the one that reverts it both end without traffic to the version.
    assert left == [0, 0]
    assert journal.reason is not None
    assert "failed; a version is good up to" in journal.reason
    assert journal.reason.endswith("(during the update)")
    texts = [event["text"] for event in journal.events]
    assert sum(text.startswith("Reverting:") for text in texts) == 1
    assert sum(text.startswith("Version 1 receives all traffic again") for text in texts) == 1
    assert texts[-1].startswith("An update has recorded it, after 89.0 s")


def test_update_without_failures_is_no_evidence_for_a_version(tmp_path: Path) -> None:
    """A version that fails after its first requests fails in the step, which then ends."""
    journal, stack = build_journal(tmp_path, "50,100", bake_seconds=0), Stack(update_seconds=120)
    stack.sleep(10)

    def fail_later(moment: str) -> None:
        if moment == "after deploy":
            stack.failing_percent = 20

    stack.hook = fail_later
    assert run(journal, stack) is Phase.REVERTED
    assert stack.deployed == [(50, None), (0, None)]


def test_traffic_that_an_update_moves_after_the_breach_is_moved_back_again(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "50,100"), Stack(update_seconds=60)
    stack.sleep(10)

    def fail(_: str) -> None:
        stack.failing_percent = 20
        if stack.now == 10 + 45:  # For example a second attempt of the engine.
            stack.traffic = {"1": 50, "2": 50}

    stack.hook = fail
    assert run(journal, stack) is Phase.REVERTED
    assert len(stack.shifted) == 3
    assert stack.traffic == {"1": 100, "2": 0}


def test_failed_update_of_a_failing_version_states_both(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "50,100"), Stack(failing_percent=20, update_seconds=60)
    stack.sleep(10)

    def fail(moment: str) -> None:
        if moment == "after deploy" and stack.now < 100:
            raise OperationError("the update failed")

    stack.hook = fail
    assert run(journal, stack) is Phase.REVERTED
    assert journal.reason is not None
    assert journal.reason.endswith("(during the update); the update failed")


def test_rollout_killed_after_it_moved_the_traffic_back_during_an_update_reverts(
    tmp_path: Path,
) -> None:
    journal, stack = build_journal(tmp_path, "50,100"), Stack(failing_percent=20, update_seconds=60)
    stack.sleep(10)

    def kill(moment: str) -> None:
        if moment == "after deploy":
            raise Killed

    stack.hook = kill
    with pytest.raises(Killed):
        run(journal, stack)
    stack.hook = lambda _: None
    resumed = read_journal(journal.path)
    assert resumed is not None
    assert resumed.phase is Phase.REVERTING
    assert run(resumed, stack) is Phase.REVERTED
    assert stack.traffic == {"1": 100, "2": 0}


def test_version_that_is_not_ready_is_reverted(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path), Stack(unready=["version 2 of m is restarting"])
    assert run(journal, stack) is Phase.REVERTED
    assert journal.reason == "version 2 of m is restarting"


def test_step_without_enough_requests_is_reverted_in_the_end(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100", step_seconds=60), Stack()
    # Enough requests for the baseline, and then none.
    stack.sleep(60)
    stack.requests_per_second = 0
    assert run(journal, stack) is Phase.REVERTED
    assert journal.reason is not None
    assert journal.reason.startswith("no decision within 60 s: 0 of 0 failed")


def test_failed_update_is_reverted(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100"), Stack()

    def fail_second_step(moment: str) -> None:
        if moment == "before deploy" and stack.traffic["2"] == 10 and journal.step == 1:
            stack.hook = lambda _: None
            raise OperationError("the update failed")

    stack.hook = fail_second_step
    assert run(journal, stack) is Phase.REVERTED
    assert stack.traffic == {"1": 100, "2": 0}
    assert journal.reason == "the update failed"


def test_without_a_baseline_nothing_is_changed(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, step_seconds=30), Stack(requests_per_second=0)
    with pytest.raises(OperationError, match=r"--slow-seconds, or use --max-slow off"):
        run(journal, stack)
    assert stack.deployed == []
    assert not journal.phase.is_in_progress


def test_process_that_is_killed_before_the_first_step_leaves_no_rollout_in_progress(
    tmp_path: Path,
) -> None:
    journal, stack = build_journal(tmp_path), Stack(requests_per_second=0)
    journal.save()
    stack.hook = kill_at(5)
    with pytest.raises(Killed):
        run(journal, stack)
    left = read_journal(journal.path)
    assert left is not None
    assert not left.phase.is_in_progress


def test_short_interruption_of_the_metrics_is_waited_out(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100"), Stack()

    def hide(_: str) -> None:
        if 20 < stack.now < 30:
            raise OperationError("no response")

    stack.hook = hide
    assert run(journal, stack) is Phase.PROMOTED


def test_blind_rollout_is_reverted(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100"), Stack()

    def hide(moment: str) -> None:
        if moment == "scrape" and stack.now > 20:
            raise OperationError("no response")

    stack.hook = hide
    assert run(journal, stack) is Phase.REVERTED
    assert journal.reason is not None
    assert "could not be read for 20 s: no response" in journal.reason


def kill_at(number: int) -> Callable[[str], None]:
    """Return a hook that ends the process at the moment with this number."""
    moments = itertools.count()

    def kill(_: str) -> None:
        if next(moments) == number:
            raise Killed

    return kill


@pytest.mark.parametrize(
    "failing_percent",
    [pytest.param(0, id="good", marks=pytest.mark.slow), pytest.param(20, id="failing")],
)
def test_rollout_continues_after_a_kill_at_any_moment(tmp_path: Path, failing_percent: int) -> None:
    expected = Phase.REVERTED if failing_percent else Phase.PROMOTED
    whole = Stack(failing_percent)
    moments: list[str] = []
    whole.hook = moments.append
    run(build_journal(tmp_path / "whole"), whole)
    # Readings follow each other closely, so every twelfth of them is tried.
    for number in [n for n, name in enumerate(moments) if name != "scrape" or n % 12 == 0]:
        directory = tmp_path / str(number)
        stack = Stack(failing_percent)
        stack.hook = kill_at(number)
        journal = build_journal(directory)
        journal.save()
        with pytest.raises(Killed):
            run(journal, stack)
        stack.hook = lambda _: None
        resumed = read_journal(journal.path)
        assert resumed is not None
        assert run(resumed, stack) is expected
        assert stack.traffic["2"] == (0 if failing_percent else 100)
        assert stack.shadow is None


def test_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path), Stack()
    run(journal, stack)
    assert read_journal(journal.path) == journal
    assert read_journal(tmp_path / "missing.json") is None


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[1]", '{"format": 1, "plan": {}}'])
def test_unreadable_journal_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rollout.json"
    path.write_text(text)
    with pytest.raises(OperationError, match="Cannot read the record of the rollout"):
        read_journal(path)


def test_number_of_samples_is_bounded(tmp_path: Path) -> None:
    journal = build_journal(tmp_path)
    for number in range(10_000):
        journal.add_sample({"seconds": number})
    assert len(journal.samples) <= 2000
    assert journal.samples[-1] == {"seconds": 9999}


def test_second_process_is_refused(tmp_path: Path) -> None:
    path = journal_path(tmp_path, "local", "m")
    with hold(path), pytest.raises(OperationError, match="Another process"), hold(path):
        pass
    with hold(path):
        pass


def test_report_shows_steps_limits_and_the_reason(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "shadow,10,100"), Stack(failing_percent=20)
    run(journal, stack)
    journal.reason = f"<b>{journal.reason}</b>"
    text = build_report(journal)
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert text.count("<figure") == 3
    assert "<script" not in text
    assert "://" not in text
    assert json.loads(journal.path.read_text())["phase"] == "reverted"


def test_traffic_returns_before_the_update_that_records_it(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100"), Stack(failing_percent=20)
    moments: list[str] = []
    stack.hook = moments.append
    assert run(journal, stack) is Phase.REVERTED
    assert moments[moments.index("before shift") + 1] == "before revert"
    texts = [event["text"] for event in journal.events]
    assert texts[-2].startswith("Version 1 receives all traffic again, after 0.0 s")
    assert texts[-1].startswith("An update has recorded it, after 2.0 s")


def test_traffic_that_cannot_move_is_reverted_by_the_update(tmp_path: Path) -> None:
    journal, stack = build_journal(tmp_path, "10,100"), Stack(failing_percent=20)

    def refuse(moment: str) -> None:
        if moment == "before shift":
            raise OperationError("the gateway kept its traffic")

    stack.hook = refuse
    assert run(journal, stack) is Phase.REVERTED
    assert stack.traffic == {"1": 100, "2": 0}
    assert "could not be moved before the update: the gateway" in journal.events[-2]["text"]


@pytest.mark.parametrize(
    ("value", "phase"), [(1.0, Phase.PROMOTED), (9.0, Phase.REVERTED), (None, Phase.REVERTED)]
)
def test_query_of_a_monitoring_system_is_a_guard(
    tmp_path: Path, value: float | None, phase: Phase
) -> None:
    journal, stack = build_journal(tmp_path, "10,100", step_seconds=300), Stack()
    queries = parse_queries("prometheus", [("sum(errors)", "< 5")])
    journal.plan = replace(journal.plan, queries=queries)
    clock = Clock(now=lambda: stack.now, sleep=stack.sleep)
    controller = Controller(
        journal, stack, report=lambda _: None, clock=clock, read_query=lambda _query, _since: value
    )
    assert controller.run() is phase
    # The record on disk has the guard, so that a resumed rollout reads it too.
    recorded = read_journal(journal.path)
    assert recorded is not None
    assert recorded.plan.queries == queries
    if value == 9.0:
        assert journal.reason == "the value of 'sum(errors)' is 9, not < 5"
