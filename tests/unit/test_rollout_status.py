"""A rollout whose process was killed is found, and its record says how it continues."""

import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from berth.cli.unfinished_rollouts import require_no_running_rollout
from berth.errors import OperationError
from berth.operations.rollout.controller import Clock, Controller
from berth.operations.rollout.journal import Journal, Phase, hold, journal_path, read_journal
from berth.operations.rollout.status import describe_unfinished, list_rollouts
from tests.simulated_rollout import Killed, Stack, build_journal, run

# The lock of a real process, which only the system releases.
_HOLDER = """
import sys, time
from pathlib import Path
from berth.operations.rollout.journal import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def build_project_journal(root: Path, stack: str = "prod") -> Journal:
    journal = build_journal(root)
    journal.path = journal_path(root, stack, "m")
    return journal


def kill_in(phase: Phase, journal: Journal) -> Stack:
    """Return a stack that ends the process in a phase, if it can in the second step."""
    stack = Stack()

    def kill(_: str) -> None:
        if phase is Phase.REVERTING and journal.step == 1:
            stack.failing_percent = 20
        if journal.phase is phase and (phase is Phase.STARTING or journal.step == 1):
            raise Killed

    stack.hook = kill
    return stack


@pytest.mark.parametrize(
    ("phase", "record", "traffic"),
    [
        (Phase.STARTING, "before the first step, so nothing was changed", {"1": 100, "2": 0}),
        (
            Phase.DEPLOYING,
            "step 2 of 3, version 2 receives 10 % of the traffic",
            {"1": 90, "2": 10},
        ),
        (
            Phase.WATCHING,
            "step 2 of 3, version 2 receives 10 % of the traffic",
            {"1": 90, "2": 10},
        ),
        (Phase.REVERTING, "all traffic returns to version 1", {"1": 100, "2": 0}),
    ],
)
def test_rollout_that_was_killed_is_listed_with_its_phase_and_its_commands(
    tmp_path: Path, phase: Phase, record: str, traffic: dict[str, int]
) -> None:
    journal = build_project_journal(tmp_path)
    journal.since = 0.0
    journal.save()
    with pytest.raises(Killed):
        run(journal, kill_in(phase, journal))
    (rollout,), problems = list_rollouts(tmp_path, "prod")
    assert problems == []
    assert (rollout.phase, rollout.is_interrupted, rollout.has_ended) == (phase, True, False)
    assert rollout.is_in_progress is (phase is not Phase.STARTING)
    assert rollout.traffic == traffic
    assert rollout.since is not None
    (line,) = describe_unfinished([rollout])
    assert f"was interrupted while {phase}. Its record: {record}, since " in line
    assert "'berth rollout m 2 -s prod --resume'" in line
    assert "'berth rollout m 2 -s prod --abort'" in line
    # Another process continues each of them, and then none is left to report.
    resumed = read_journal(journal.path)
    assert resumed is not None
    run(resumed, Stack())
    (ended,), _ = list_rollouts(tmp_path, "prod")
    assert (ended.has_ended, ended.is_interrupted, ended.resume) == (True, False, None)
    assert describe_unfinished([ended]) == []


def test_rollout_is_interrupted_only_after_its_process_was_killed(tmp_path: Path) -> None:
    journal = build_project_journal(tmp_path)
    journal.enter(Phase.WATCHING)
    journal.save()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(journal.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            (running,), _ = list_rollouts(tmp_path, "prod")
            assert (running.is_interrupted, running.is_in_progress) == (False, True)
            assert running.resume is None
            assert describe_unfinished([running])[0].startswith("A process runs the rollout of m")
            with pytest.raises(OperationError, match=r"A process runs .* nothing was changed"):
                require_no_running_rollout(tmp_path, "prod")
        finally:
            process.send_signal(signal.SIGKILL)
    (killed,), _ = list_rollouts(tmp_path, "prod")
    assert killed.is_interrupted
    require_no_running_rollout(tmp_path, "prod")
    with hold(journal.path):
        pass


def test_rollouts_of_other_stacks_are_left_out(tmp_path: Path) -> None:
    """Names of stacks and models can contain dots."""
    for stack, model in (("prod", "m"), ("prod.eu", "m"), ("prod", "eu.m")):
        journal = build_journal(tmp_path)
        journal.plan = type(journal.plan)(**{**vars(journal.plan), "model": model})
        journal.path = journal_path(tmp_path, stack, model)
        journal.save()
    assert [each.model for each in list_rollouts(tmp_path, "prod")[0]] == ["eu.m", "m"]
    assert [each.model for each in list_rollouts(tmp_path, "prod.eu")[0]] == ["m"]
    assert list_rollouts(tmp_path, "dev") == ([], [])
    assert list_rollouts(tmp_path / "new", "prod") == ([], [])


def test_unreadable_record_is_reported_next_to_the_others(tmp_path: Path) -> None:
    build_project_journal(tmp_path).save()
    journal_path(tmp_path, "prod", "other").write_text("{")
    rollouts, problems = list_rollouts(tmp_path, "prod")
    assert [each.model for each in rollouts] == ["m"]
    assert "other.json" in problems[0]


def test_rollout_that_ends_before_its_first_step_is_not_reported(tmp_path: Path) -> None:
    journal = build_project_journal(tmp_path)
    stack = Stack()
    clock = Clock(now=lambda: stack.now, sleep=stack.sleep)
    controller = Controller(journal, stack, report=lambda _: None, clock=clock)
    assert controller.cancel("interrupted") is Phase.CANCELED
    (rollout,), _ = list_rollouts(tmp_path, "prod")
    assert rollout.has_ended
    assert rollout.event == "Ended before the first step: interrupted. Nothing was changed."
    assert stack.deployed == []


def test_rollout_without_a_baseline_has_ended(tmp_path: Path) -> None:
    journal = build_project_journal(tmp_path)
    journal.plan = type(journal.plan)(**{**vars(journal.plan), "step_seconds": 30})
    with pytest.raises(OperationError):
        run(journal, Stack(requests_per_second=0))
    (rollout,), _ = list_rollouts(tmp_path, "prod")
    assert rollout.has_ended
    assert asdict(rollout)["resume"] is None
