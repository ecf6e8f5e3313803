"""A rollout goes on, reverts, and continues after an interruption at any moment."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from berth.errors import OperationError
from berth.operations.rollout.controller import Clock, Controller
from berth.operations.rollout.journal import Phase, hold, journal_path, read_journal
from berth.operations.rollout.query import parse_queries
from berth.operations.rollout.report import build_report
from tests.simulated_rollout import Killed, Stack, build_journal, run


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
