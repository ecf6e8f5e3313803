"""The specification of commands that only read a stack, when its configuration file is broken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from berth.cli import stacks
from berth.errors import OperationError
from berth.operations.update import Update
from berth.spec import SpecError

_BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(missing_ok=True),
    "not YAML": lambda path: path.write_text("config: ["),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "empty": lambda path: path.write_text(""),
    "unknown platform": lambda path: path.write_text("config:\n  berth:platform: moon\n"),
    "directory": lambda path: path.mkdir(),
}
_MODELS: dict[str, object] = {"digits": {"versions": {"1": {}}}}


def _update(number: int, **changes: object) -> Update:
    values: dict[str, object] = {
        "kind": "update",
        "succeeded": False,  # A failed update also runs what its configuration says.
        "config": {"berth:platform": "local", "berth:models": _MODELS, "berth:gateway": "[secret]"},
        "secrets": frozenset({"berth:gateway"}),
        "commit": None,
        "has_uncommitted_changes": False,
        "ended": "",
        "changes": {},
    }
    return Update(number=number, **(values | changes))  # type: ignore[arg-type]


class _Stack:
    def __init__(self, history: list[Update]) -> None:
        self.history = lambda: history


@pytest.mark.parametrize("damage", _BROKEN.values(), ids=_BROKEN)
def test_broken_file_is_replaced_by_the_latest_usable_recorded_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
) -> None:
    damage(tmp_path / "Pulumi.local.yaml")
    history = [
        _update(6),
        _update(7),
        _update(8, kind="refresh", config={}),
        _update(9, config={"berth:platform": "of an older Berth"}),
    ]
    monkeypatch.setattr(stacks, "open_stack", lambda *_: _Stack(history))
    context = stacks.open_context(tmp_path, "local")
    assert context.spec.platform == "local"
    assert list(context.spec.models) == ["digits"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Using the configuration that update 7 recorded, because the file")
    assert "Pulumi.local.yaml" in line


@pytest.mark.parametrize("damage", _BROKEN.values(), ids=_BROKEN)
def test_broken_file_without_a_recorded_configuration_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    damage(tmp_path / "Pulumi.local.yaml")

    def open_stack(*_: object) -> _Stack:
        raise OperationError("no stack named 'local' found")

    monkeypatch.setattr(stacks, "open_stack", open_stack)
    with pytest.raises(SpecError, match=r"Pulumi\.local\.yaml"):
        stacks.open_context(tmp_path, "local")
