"""Under load, nothing that Berth does to a stack costs a client a request."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from berth_protocol.model_card import read_card
from tests.engine.project import Load, Project, eventually

MORE = 300


@pytest.fixture(scope="module")
def up(project: Project) -> Iterator[Project]:
    def unthrottled(config: Any) -> None:
        config["berth:gateway"]["clients"] = {
            "default": {"rate_per_second": 100_000, "burst": 100_000}
        }

    project.edit(unthrottled)
    project.berth("up", "--yes")
    yield project
    project.berth("destroy", "--yes")


@pytest.fixture
def load(up: Project) -> Load:
    example = read_card(up.root / "models" / "digits" / "1").example
    return Load(
        endpoint=up.json("status")["endpoint"],
        headers={"x-api-key": up.key(), "content-type": "application/json"},
        path="/v2/models/digits/infer",
        body=json.dumps(example).encode(),
    )


def _goes_on(load: Load) -> None:
    """The load is served after what was done as well as during it."""
    before = load.total
    eventually(lambda: load.total >= before + MORE)


def test_changed_berth_is_replaced_without_a_failed_request(up: Project, load: Load) -> None:
    before = up.pids()
    with load.running():
        up.edit(lambda c: c["berth:models"]["digits"].update(serving={"max_batch": 7}))
        up.berth("up", "--yes")
        _goes_on(load)
    load.expect_none_lost()
    after = up.pids()
    assert after["gateway"] == before["gateway"]
    replaced = {name for name in before if name.startswith("digits-")}
    assert len(replaced) == 2
    assert replaced.isdisjoint(after)
    assert len([name for name in after if name.startswith("digits-")]) == 2
    # The other model was not touched.
    assert {n: p for n, p in before.items() if n.startswith("breast-cancer")} == {
        n: p for n, p in after.items() if n.startswith("breast-cancer")
    }


def test_flipped_weights_and_rollback_cost_no_request(up: Project, load: Load) -> None:
    with load.running():
        up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": 0, "2": 100}))
        up.berth("up", "--yes")
        load.versions.clear()
        _goes_on(load)
        assert set(load.versions) == {"2"}
        up.berth("rollback", "--yes")
        load.versions.clear()
        _goes_on(load)
        assert set(load.versions) == {"1", "2"}
    load.expect_none_lost()


def test_version_added_and_removed_costs_no_request(up: Project, load: Load) -> None:
    with load.running():
        up.edit(
            lambda c: (
                c["berth:models"]["digits"]["versions"].pop("2"),
                c["berth:models"]["digits"].update(traffic={"1": 100}),
            )
        )
        up.berth("up", "--yes")
        load.versions.clear()
        _goes_on(load)
        assert set(load.versions) == {"1"}
        up.berth("rollback", "--yes")
        _goes_on(load)
    load.expect_none_lost()
    assert up.json("status")["models"]["digits"]["versions"]["2"]["state"] == "ready"
