"""Which update a rollback goes back to."""

from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.rollback import choose
from berth.operations.stack import Update


def _update(number: int, config: str, *, succeeded: bool = True, kind: str = "update") -> Update:
    return Update(
        number=number,
        kind=kind,
        succeeded=succeeded,
        config={"berth:models": config},
        secrets=frozenset(),
        commit=None,
        dirty=False,
        ended="",
        changes={},
    )


@pytest.mark.parametrize(
    ("history", "to", "expected"),
    [
        pytest.param([(1, "a"), (2, "b")], None, 1, id="the one before"),
        pytest.param([(1, "a"), (2, "b"), (3, "b")], None, 1, id="equal ones are one"),
        pytest.param([(1, "a"), (2, "b"), (3, "a")], None, 2, id="a rollback can be rolled back"),
        pytest.param([(1, "a")], None, 1, id="the only one"),
        pytest.param([(1, "a"), (2, "b")], 2, 2, id="the one asked for"),
    ],
)
def test_chosen(history: list[tuple[int, str]], to: int | None, expected: int) -> None:
    assert choose([_update(n, config) for n, config in history], to).number == expected


def test_after_a_failed_update_the_latest_good_one() -> None:
    history = [_update(1, "a"), _update(2, "b"), _update(3, "c", succeeded=False)]
    assert choose(history, None).number == 2


def test_refreshes_and_destroys_are_not_updates() -> None:
    history = [_update(1, "a"), _update(2, "b"), _update(3, "c", kind="refresh")]
    assert choose(history, None).number == 1
    with pytest.raises(OperationError, match=r"3 is not a successful update.*1, 2"):
        choose(history, 3)


@pytest.mark.parametrize("history", [[], [_update(1, "a", succeeded=False)]])
def test_nothing_to_go_back_to(history: list[Update]) -> None:
    with pytest.raises(OperationError, match="nothing to go back to"):
        choose(history, None)


def test_update_as_the_engine_records_it() -> None:
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
    assert (update.commit, update.dirty) == ("c0ffee", True)
    assert update.changes == {"create": 2}
