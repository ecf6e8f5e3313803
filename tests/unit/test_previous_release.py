"""The record of each update about the release that a rollback returns to."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from berth.errors import OperationError
from berth.operations import previous_release
from berth.operations.previous_release import read_completeness, record_completeness
from berth.operations.stack import Stack
from berth.operations.update import Update
from tests.unit.promotion_project import update


@dataclass
class _Stack:
    """What the function uses of a stack."""

    updates: list[Update]
    root: Path = Path()
    name: str = "dev"
    values: dict[str, str] = field(default_factory=dict)

    def history(self, **_: Any) -> list[Update]:
        return self.updates

    def tags(self) -> dict[str, str]:
        return dict(self.values)

    def set_tag(self, name: str, value: str) -> None:
        self.values[name] = value


def _record(
    monkeypatch: pytest.MonkeyPatch, stack: _Stack, missing: list[str] | None
) -> tuple[list[str], list[int]]:
    """Return what was printed, and the numbers of the updates that were checked."""
    checked: list[int] = []
    printed: list[str] = []

    def find(_root: Path, _name: str, each: Update) -> list[str] | None:
        checked.append(each.number)
        return missing

    monkeypatch.setattr(previous_release, "find_missing_parts", find)
    record_completeness(cast("Stack", stack), printed.append)
    return printed, checked


def test_update_records_the_release_that_a_rollback_returns_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = update(1, {"a": 1}), update(2, {"a": 2})
    stack = _Stack([first])
    assert _record(monkeypatch, stack, []) == ([], [])
    assert stack.values == {}
    stack.updates.append(second)
    assert _record(monkeypatch, stack, []) == ([], [1])
    assert read_completeness(stack.values) == {1: "complete: yes"}
    # After a failed update, the release is the last successful one.
    stack.updates.append(replace(update(3, {"a": 3}), succeeded=False))
    assert _record(monkeypatch, stack, ["image x is missing"]) == (
        ["The release of update 2 is not complete: image x is missing."],
        [2],
    )
    assert read_completeness(stack.values) == {
        1: "complete: yes",
        2: "complete: no: image x is missing",
    }
    _record(monkeypatch, stack, [])
    assert read_completeness(stack.values) == {1: "complete: yes", 2: "complete: yes"}


def test_long_reason_is_shortened_to_what_a_tag_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = _Stack([update(1, {"a": 1}), update(2, {"a": 2})])
    _record(monkeypatch, stack, [f"image {'x' * 400} is missing"])
    (value,) = stack.values.values()
    assert len(value) == 256
    assert value.endswith("...")


def test_release_that_cannot_be_checked_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = _Stack([update(1, {"a": 1}), update(2, {"a": 2})])
    assert _record(monkeypatch, stack, None) == ([], [1])
    assert stack.values == {}


def test_failure_to_record_does_not_fail_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(_Stack):
        def history(self, **_: Any) -> list[Update]:
            raise OperationError("the backend does not respond.")

    printed, _ = _record(monkeypatch, Broken([]), [])
    assert printed == [
        "Could not record whether the previous release is complete: the backend does not respond."
    ]
