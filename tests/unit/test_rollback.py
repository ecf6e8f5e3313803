"""The choice of the update that a rollback returns to, and what it leaves out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.rollback import choose_update, rollback
from berth.operations.stack import Stack
from berth.operations.update import Update


def _update(number: int, config: str, *, succeeded: bool = True, kind: str = "update") -> Update:
    return Update(
        number=number,
        kind=kind,
        succeeded=succeeded,
        config={"berth:models": config},
        secrets=frozenset(),
        commit=None,
        has_uncommitted_changes=False,
        ended="",
        changes={},
    )


@pytest.mark.parametrize(
    ("history", "to", "expected"),
    [
        pytest.param([(1, "a"), (2, "b")], None, 1, id="previous configuration"),
        pytest.param(
            [(1, "a"), (2, "b"), (3, "b")], None, 1, id="equal configurations are skipped"
        ),
        pytest.param([(1, "a"), (2, "b"), (3, "a")], None, 2, id="rollback of a rollback"),
        pytest.param([(1, "a")], None, 1, id="only update"),
        pytest.param([(1, "a"), (2, "b")], 2, 2, id="requested number"),
    ],
)
def test_rollback_target_is_chosen(
    history: list[tuple[int, str]], to: int | None, expected: int
) -> None:
    assert choose_update([_update(n, config) for n, config in history], to).number == expected


def test_failed_update_rolls_back_to_latest_success() -> None:
    history = [_update(1, "a"), _update(2, "b"), _update(3, "c", succeeded=False)]
    assert choose_update(history, None).number == 2


def test_refresh_is_not_a_rollback_target() -> None:
    history = [_update(1, "a"), _update(2, "b"), _update(3, "c", kind="refresh")]
    assert choose_update(history, None).number == 1
    with pytest.raises(OperationError, match=r"Update 3 is not a successful update.*1, 2"):
        choose_update(history, 3)


@pytest.mark.parametrize("history", [[], [_update(1, "a", succeeded=False)]])
def test_stack_without_successful_update_cannot_be_rolled_back(history: list[Update]) -> None:
    with pytest.raises(OperationError, match="cannot be rolled back"):
        choose_update(history, None)


def test_update_is_parsed_from_engine_history() -> None:
    entry: dict[str, Any] = {
        "kind": "update",
        "result": "succeeded",
        "endTime": "2026-11-23T08:00:00.000Z",
        "environment": {"git.head": "c0ffee", "git.dirty": "true"},
        "config": {
            "berth:platform": {"value": "local", "secret": False},
            "berth:gateway": {"value": "{}", "objectValue": {"a": 1}, "secret": True},
        },
        "resourceChanges": {"create": 2},
    }
    update = Update.parse(7, entry)
    assert update.number == 7
    assert update.succeeded
    assert update.config == {"berth:platform": "local", "berth:gateway": {"a": 1}}
    assert update.secrets == {"berth:gateway"}
    assert (update.commit, update.has_uncommitted_changes) == ("c0ffee", True)
    assert update.changes == {"create": 2}


def test_preview_and_update_of_a_rollback_leave_out_skipped_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Sequence[str]] = []

    def preview(_stack: Stack, *arguments: str) -> int:
        calls.append(arguments)
        return 0

    def deploy(_stack: Stack, arguments: Sequence[str]) -> int:
        calls.append(arguments)
        return 1

    monkeypatch.setattr(Stack, "preview", preview)
    code = rollback(
        Stack("x", tmp_path, {}),
        _update(1, "a"),
        tmp_path / "Pulumi.x.yaml",
        program=None,
        options=["--exclude", "host"],
        policy_pack=None,
        confirm=lambda: True,
        deploy=deploy,
    )
    assert code == 1
    assert [call[-2:] for call in calls] == [("--exclude", "host")] * 2
