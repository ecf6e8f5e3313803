"""Updates and rollbacks under load fail no request."""

import json
import os
import signal
from typing import Any

import pytest

from berth_protocol.model_card import read_card
from tests.engine.project import Load, Project, wait_for

MORE_REQUESTS = 300


@pytest.fixture(scope="module")
def project(project: Project) -> Project:
    """The project without effective rate limits."""

    def raise_limits(config: Any) -> None:
        config["berth:gateway"]["clients"] = {
            "default": {"rate_per_second": 100_000, "burst": 100_000}
        }

    project.edit(raise_limits)
    return project


@pytest.fixture
def load(running: Project) -> Load:
    example = read_card(running.root / "models" / "digits" / "1").example
    return Load(
        endpoint=running.json("status")["endpoint"],
        headers={"x-api-key": running.key(), "content-type": "application/json"},
        path="/v2/models/digits/infer",
        body=json.dumps(example).encode(),
    )


def _wait_for_more(load: Load) -> None:
    """Let the load continue after a change."""
    before = load.total
    wait_for(lambda: load.total >= before + MORE_REQUESTS)


def test_changed_weights_and_rollback_fail_no_request(up: Project, load: Load) -> None:
    with load.running():
        up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": 0, "2": 100}))
        up.berth("up", "--yes")
        load.versions.clear()
        _wait_for_more(load)
        assert set(load.versions) == {"2"}
        up.berth("rollback", "--yes")
        load.versions.clear()
        _wait_for_more(load)
        assert set(load.versions) == {"1", "2"}
    load.assert_no_failures()


def _remove_version_2(config: Any) -> None:
    config["berth:models"]["digits"]["versions"].pop("2")
    config["berth:models"]["digits"].update(traffic={"1": 100})


def test_removed_and_restored_version_fails_no_request(up: Project, load: Load) -> None:
    with load.running():
        up.edit(_remove_version_2)
        up.berth("up", "--yes")
        load.versions.clear()
        _wait_for_more(load)
        assert set(load.versions) == {"1"}
        up.berth("rollback", "--yes")
        _wait_for_more(load)
    load.assert_no_failures()
    assert up.json("status")["models"]["digits"]["versions"]["2"]["state"] == "ready"


def test_replacement_of_changed_berth_fails_no_request(up: Project, load: Load) -> None:
    before = up.pids()
    with load.running():
        up.edit(lambda c: c["berth:models"]["digits"].update(serving={"max_batch": 7}))
        up.berth("up", "--yes")
        _wait_for_more(load)
    load.assert_no_failures()
    after = up.pids()
    assert after["gateway"] == before["gateway"]
    replaced = {name for name in before if name.startswith("digits-")}
    assert len(replaced) == 2
    assert replaced.isdisjoint(after)
    assert len([name for name in after if name.startswith("digits-")]) == 2
    # The other model keeps its process.
    assert {n: p for n, p in before.items() if n.startswith("breast-cancer")} == {
        n: p for n, p in after.items() if n.startswith("breast-cancer")
    }


def test_up_after_a_killed_supervisor_fails_no_request(running: Project, load: Load) -> None:
    endpoint = running.json("status")["endpoint"]
    before = {process.pid for process in running.find_processes()}
    with load.running():
        os.kill(int((running.run_dir.path / "supervisord.pid").read_text()), signal.SIGKILL)
        running.berth("up", "--yes")
        _wait_for_more(load)
    load.assert_no_failures()
    assert running.json("status")["endpoint"] == endpoint
    assert before.isdisjoint(process.pid for process in running.find_processes())
    running.berth("preview", "--expect-no-changes")
