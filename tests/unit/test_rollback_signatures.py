"""A rollback does not require less of signatures than the stack requires now."""

from typing import Any

import pytest

from berth.operations.rollback_signatures import (
    apply_requirement,
    choose_requirement,
    describe_requirement,
)
from berth.operations.update import Update

OLD, NEW = (
    {"berth:require_signature": ["keys/old.pub"]},
    {"berth:trusted_identities": {"ci": {"identity": "release@example.com"}}},
)
EMPTY: dict[str, Any] = {"berth:require_signature": []}


def _config(signers: dict[str, Any] | None) -> dict[str, Any]:
    return {"berth:models": {"digits": {}}, **(signers or {})}


def _update(number: int, signers: dict[str, Any] | None) -> Update:
    return Update(
        number=number,
        kind="update",
        succeeded=True,
        config=_config(signers),
        secrets=frozenset(),
        commit=None,
        has_uncommitted_changes=False,
        ended="",
        changes={},
    )


@pytest.mark.parametrize(
    ("file", "deployed", "target", "expected", "line"),
    [
        pytest.param(NEW, NEW, None, NEW, "update 3 required none", id="before the requirement"),
        pytest.param(NEW, NEW, OLD, NEW, "update 3 trusted others", id="replaced key"),
        pytest.param(NEW, OLD, OLD, NEW, "as in the configuration file", id="not deployed yet"),
        pytest.param(None, NEW, None, NEW, "as in update 9", id="removed from the file"),
        pytest.param(EMPTY, NEW, None, NEW, "as in update 9", id="emptied in the file"),
        pytest.param(None, None, OLD, OLD, None, id="removed and deployed"),
        pytest.param(NEW, NEW, NEW, NEW, None, id="the same"),
        pytest.param(None, None, None, None, None, id="never required"),
    ],
)
def test_strictest_requirement_is_kept(
    file: dict[str, Any] | None,
    deployed: dict[str, Any] | None,
    target: dict[str, Any] | None,
    expected: dict[str, Any] | None,
    line: str | None,
) -> None:
    update = _update(3, target)
    requirement = choose_requirement(_config(file), _update(9, deployed), update)

    assert apply_requirement(update.config, requirement) == _config(expected)
    lines = describe_requirement(requirement, update)
    assert len(lines) == (line is not None)
    if line is not None:
        assert line in lines[0]
        assert "add --restore-signatures" in lines[0]


@pytest.mark.parametrize("target", [None, OLD])
def test_requirement_of_the_update_is_restored_on_request(target: dict[str, Any] | None) -> None:
    update = _update(3, target)
    requirement = choose_requirement(_config(NEW), _update(9, NEW), update, restores=True)

    assert apply_requirement(update.config, requirement) == _config(target)
    assert describe_requirement(requirement, update) == []
