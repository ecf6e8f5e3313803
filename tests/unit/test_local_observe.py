"""The state of a local stack whose first update failed, or whose supervisor was lost."""

from pathlib import Path
from typing import Any

import pytest

from berth.platforms.local import observe
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
from pulumi_berth.local import supervisord
from tests.repository import REPOSITORY


@pytest.fixture
def context(tmp_path: Path) -> StackContext:
    spec = load_file(REPOSITORY / "Pulumi.local.yaml")
    return StackContext(root=tmp_path, stack="local", spec=spec)


def _berth(version: str) -> dict[str, Any]:
    outputs = {
        "model": "digits",
        "version": version,
        "digest": f"sha256:{version}",
        "process": f"digits-{version}-abc",
        "url": "http://127.0.0.1:1",
    }
    return {
        "type": "pulumi-python:dynamic/berth:BerthProcess",
        "id": outputs["process"],
        "outputs": outputs,
    }


def test_outputs_after_a_failed_first_update_are_those_of_the_resources_that_exist(
    context: StackContext,
) -> None:
    assert observe.build_partial_outputs(context, []) is None
    outputs = observe.build_partial_outputs(context, [_berth("1")])
    assert outputs is not None
    version = outputs["models"]["digits"]["versions"]["1"]
    assert (version["process"], version["traffic"]) == ("digits-1-abc", 90)
    observed = observe.observe(context, outputs)
    assert observed["gateway"] == "not deployed"
    assert observed["models"]["digits"]["versions"]["1"]["state"] == "stopped"


def test_process_that_serves_without_its_supervisor_is_ready_and_noted(
    context: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes are asked, not the supervisor that started them."""
    monkeypatch.setattr(observe, "find_processes", lambda _: {object(): "digits-1-abc"})
    monkeypatch.setattr(observe, "get_json", lambda *_: (200, {}))
    outputs = observe.build_partial_outputs(context, [_berth("1"), _berth("2")])
    assert outputs is not None
    observed = observe.observe(context, outputs)
    states = {v: entry["state"] for v, entry in observed["models"]["digits"]["versions"].items()}
    # Nothing of this stack runs as version 2: another program can have taken its port.
    assert states == {"1": "ready", "2": "stopped"}
    (note,) = observed["notes"]
    assert "supervisor is not running" in note


def test_suspended_supervisor_is_noted_and_the_processes_are_asked(
    context: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_running(_run_dir: object) -> bool:
        raise supervisord.SupervisorError("did not respond within 5 s")

    monkeypatch.setattr(supervisord, "is_running", is_running)
    monkeypatch.setattr(observe, "find_processes", lambda _: {object(): "digits-1-abc"})
    monkeypatch.setattr(observe, "get_json", lambda *_: (200, {}))
    outputs = observe.build_partial_outputs(context, [_berth("1")])
    assert outputs is not None
    observed = observe.observe(context, outputs)
    assert observed["models"]["digits"]["versions"]["1"]["state"] == "ready"
    assert observed["notes"] == ["did not respond within 5 s"]
    assert observe.find_drift(context, [_berth("1")]) == ["did not respond within 5 s"]
