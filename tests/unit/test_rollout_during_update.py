"""A rollout watches a version that fails while the update of a step still runs."""

from pathlib import Path

import pytest

from berth.errors import OperationError
from berth.operations.rollout.journal import Phase, read_journal
from tests.simulated_rollout import Killed, Stack, build_journal, run


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
