"""What a rollout does with its stack when the traffic moves back during an update."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from berth.cli import stacks
from berth.cli.rollout_target import RolloutTarget
from berth.operations.rollout.plan import Plan
from berth.operations.state_file import RecordedState
from berth.operations.update import Update

_FILE = """\
config:
  berth:platform: local
  berth:models:
    m:
      versions: {"1": {}, "2": {}}
      traffic: {"1": 100, "2": 0}
"""


class _Stack:
    """A stack whose update calls a function."""

    def __init__(self, during_update: Callable[[], object]) -> None:
        self._during_update = during_update

    def up(self, *_: str) -> int:
        self._during_update()
        return 0


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stacks whose update was finished and checked."""
    names: list[str] = []
    update = Update(1, "update", True, {}, frozenset(), None, False, "", {})
    replaced: dict[str, Any] = {
        "load_deployable_spec": stacks.load_spec,
        "find_skipped_parts": lambda *_: [],
        "open_program": lambda stack, _parts: stack,
        "read_recorded_state": lambda *_: RecordedState({}, update),
        "read_stack_resources": lambda _: [],
        "require_serving": lambda _stack, context, *_: names.append(context.stack),
    }
    for name, function in replaced.items():
        monkeypatch.setattr(stacks, name, function)
    monkeypatch.setattr("berth.platforms.local.shift_traffic.shift_traffic", lambda *_: ["m"])
    return names


@pytest.fixture
def target(tmp_path: Path) -> RolloutTarget:
    (tmp_path / "Pulumi.local.yaml").write_text(_FILE)
    plan = Plan(
        model="m",
        version="2",
        stable="1",
        steps=(50, 100),
        bake_seconds=1,
        step_seconds=60,
        limits={"failed": 0.01},
    )
    return RolloutTarget(tmp_path, "local", plan, as_json=False)


def deploy(
    target: RolloutTarget, monkeypatch: pytest.MonkeyPatch, during_update: Callable[[], object]
) -> None:
    stack = _Stack(during_update)
    monkeypatch.setattr(stacks, "open_stack_for_update", lambda *_, **__: stack)
    target.deploy({"1": 50, "2": 50}, None, lambda: None)


def test_update_is_finished_and_checked(
    target: RolloutTarget, monkeypatch: pytest.MonkeyPatch, checked: list[str]
) -> None:
    deploy(target, monkeypatch, lambda: None)
    assert checked == ["local"]


def test_update_does_not_restore_traffic_that_was_moved_back_meanwhile(
    target: RolloutTarget, monkeypatch: pytest.MonkeyPatch, checked: list[str]
) -> None:
    deploy(target, monkeypatch, lambda: target.shift({"1": 100, "2": 0}))
    assert checked == []
    # The next update is not affected.
    deploy(target, monkeypatch, lambda: None)
    assert checked == ["local"]


def test_failure_of_a_look_ends_the_deployment(
    target: RolloutTarget, monkeypatch: pytest.MonkeyPatch, checked: list[str]
) -> None:
    called = Event()

    def look() -> None:
        called.set()
        raise ZeroDivisionError

    monkeypatch.setattr("berth.cli.rollout_target._LOOK_SECONDS", 0.01)
    monkeypatch.setattr(stacks, "open_stack_for_update", lambda *_, **__: _Stack(called.wait))
    with pytest.raises(ZeroDivisionError):
        target.deploy({"1": 50, "2": 50}, None, look)
    assert checked == ["local"]
