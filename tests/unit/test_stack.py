"""How a stack runs the engine, with a script in place of `pulumi`."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from berth.errors import OperationError
from berth.operations import stack as stack_module
from berth.operations import update_watch
from berth.operations.rollback import choose_update
from berth.operations.stack import Stack

# An update reads the providers in the state before it starts.
_EXPORT = """case "$*" in
*"stack export"*) echo '{"version": 3, "deployment": {"resources": []}}'; exit 0 ;;
esac"""


def _stack(tmp_path: Path, script: str) -> Stack:
    """Return a stack whose engine is the shell script `script`."""
    engine = tmp_path / "bin" / "pulumi"
    engine.parent.mkdir()
    engine.write_text(f"#!/bin/sh\n{_EXPORT}\n{script}\n")
    engine.chmod(0o755)
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    path = f"{engine.parent}{os.pathsep}{os.environ['PATH']}"
    return Stack("dev", tmp_path, {**os.environ, "PATH": path})


@pytest.fixture(autouse=True)
def _engine_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)


@pytest.mark.parametrize("status", [1, 2, 4, 5, 7, 8, 255])
def test_every_failure_of_the_engine_has_exit_status_1(tmp_path: Path, status: int) -> None:
    """Pulumi exits with 7 if a preview with `--expect-no-changes` finds a change."""
    stack = _stack(tmp_path, f"exit {status}")
    assert stack.preview("--expect-no-changes") == 1
    assert stack.up("--yes") == 1
    assert stack.destroy("--yes") == 1


def test_preview_as_json_with_unexpected_changes_has_exit_status_1(tmp_path: Path) -> None:
    event = '{"summaryEvent": {"resourceChanges": {"update": 1}}}'
    stack = _stack(tmp_path, f"echo '{event}'; exit 7")
    assert stack.preview_json("--expect-no-changes") == (
        1,
        {"changes": {"update": 1}, "steps": [], "policies": [], "errors": []},
    )


_HISTORY = [
    {"kind": "update", "result": "succeeded", "config": {"berth:x": {"value": str(number)}}}
    for number in (3, 2, 1)
]


def test_update_that_is_marked_unready_is_no_rollback_target(tmp_path: Path) -> None:
    """The engine considers update 3 and 2 successful. The tag is kept in the backend."""
    tags = tmp_path / "tags"
    tags.write_text("{}")
    stack = _stack(
        tmp_path,
        f"""case "$*" in
        *history*) echo '{json.dumps(_HISTORY)}' ;;
        *"tag ls"*) cat {tags} ;;
        *"tag set"*) echo "{{\\"$4\\": \\"$5\\"}}" > {tags} ;;
        esac""",
    )
    assert [update.succeeded for update in stack.history()] == [True, True, True]
    assert choose_update(stack.history(), None).number == 2
    stack.mark_unready(3)
    stack.mark_unready(2)
    assert json.loads(tags.read_text()) == {"berth:unready": "2 3"}
    history = stack.history()
    assert [update.succeeded for update in history] == [True, False, False]
    assert choose_update(history, None).number == 1
    with pytest.raises(OperationError, match="Update 2 is not a successful update"):
        choose_update(history, 2)


def test_backend_that_hangs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_QUIET_SECONDS", 0.3)
    stack = _stack(tmp_path, "exec sleep 30")
    stack.environment["PULUMI_BACKEND_URL"] = "s3://bucket"  # type: ignore[index]
    with pytest.raises(OperationError, match=r"did not finish within 0\.3 s.*pulumi whoami"):
        stack.outputs()


def test_drift_is_read_from_the_engines_refresh(tmp_path: Path) -> None:
    urn = (
        "urn:pulumi:dev::demo::berth:kubernetes:X$kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
    )
    events = [
        {"op": "same", "urn": f"{urn}::same"},
        {"op": "update", "urn": f"{urn}::digits", "detailedDiff": {"spec.rules[0].filters": {}}},
        {"op": "delete", "urn": f"{urn}::gone"},
    ]
    lines = "\n".join(json.dumps({"resOutputsEvent": {"metadata": event}}) for event in events)
    (tmp_path / "events").write_text(lines)
    stack = _stack(tmp_path, f"cat {tmp_path}/events")
    assert list(map(str, stack.find_drift())) == [
        "HTTPRoute digits was changed: spec.rules[0].filters",
        "HTTPRoute gone no longer exists",
    ]


def test_engine_that_cannot_read_a_resource_is_reported(tmp_path: Path) -> None:
    event = json.dumps({"diagnosticEvent": {"severity": "error", "message": "no cluster"}})
    stack = _stack(tmp_path, f"echo '{event}'; exit 1")
    with pytest.raises(OperationError, match=r"Could not read the resources.*no cluster"):
        stack.find_drift()


def test_reader_that_ends_does_not_block_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Closed:
        def isatty(self) -> bool:
            return False

        def write(self, _text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            """Do nothing."""

    stack = _stack(tmp_path, "yes | head -c 1000000")
    monkeypatch.setattr("sys.stdout", _Closed())
    assert stack.up("--yes") == 0


def test_update_whose_pods_cannot_become_ready_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update_watch, "_POLL_SECONDS", 0.05)
    script = "trap 'exit 1' INT; for _ in $(seq 600); do sleep 0.05; done"
    answers = iter([[], [], ["digits-1: CrashLoopBackOff"]])
    stack = replace(_stack(tmp_path, script), find_hopeless=lambda: next(answers))
    assert stack.up("--yes") == 1
    assert next(answers, None) is None
