"""Programs that are killed, an engine that restarts, and what someone changes in the engine."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from pulumi_berth.docker.engine import COMPONENT_LABEL
from tests.docker.hosting import DockerProject
from tests.engine.project import wait_for

pytestmark = pytest.mark.slow
_READY_SECONDS = 60.0
_CLIENTS = 4


def _wait_until_serving(project: DockerProject) -> None:
    wait_for(project.is_serving, seconds=_READY_SECONDS)


def test_killed_gateway_fails_only_requests_in_flight(up: DockerProject) -> None:
    load = up.create_load()
    with load.running(_CLIENTS):
        up.kill_program(up.find_serving_gateway())
        before = load.total
        wait_for(lambda: load.total > before + 50)
    failures = {status: n for status, n in load.statuses.items() if status != "200"}
    # Each client had one request in flight. No connection is refused, and none gets an error.
    assert sum(failures.values()) <= _CLIENTS, failures
    assert not [status for status in failures if status.isdigit() or "refused" in status]
    _wait_until_serving(up)


def test_killed_berth_is_started_again(up: DockerProject) -> None:
    berth = up.container("berth", "digits", "2")
    # Version 1 takes over the share of version 2.
    with up.load() as load:
        up.kill_program(berth)
        before = load.total
        wait_for(lambda: load.total > before + 50)
    _wait_until_serving(up)
    assert up.container("berth", "digits", "2").id == berth.id


def test_killed_entry_is_started_again(up: DockerProject) -> None:
    entry = up.container("entry")
    up.kill_program(entry)
    _wait_until_serving(up)
    assert up.container("entry").id == entry.id
    up.berth("invoke", "digits")


def test_restarted_engine_starts_everything_again(up: DockerProject) -> None:
    up.engine.restart_daemon()
    _wait_until_serving(up)
    up.berth("invoke", "digits")


def _stop(project: DockerProject) -> None:
    project.container("berth", "digits", "1").stop()


def _remove(project: DockerProject) -> None:
    project.container("berth", "digits", "1").remove(force=True)


def _change_memory(project: DockerProject) -> None:
    project.container("berth", "digits", "1").update(mem_limit="1g", memswap_limit="1g")


def _connect(project: DockerProject) -> None:
    with contextlib.closing(project.engine.client()) as client:
        (network,) = (each for each in client.networks.list() if "-front-" in str(each.name))
        network.connect(project.container("berth", "digits", "1"))


@pytest.mark.parametrize(
    ("change", "description"),
    [
        (_stop, "is exited"),
        (_remove, "no longer exists"),
        (_change_memory, "has 1024 MiB memory, not 256"),
        (_connect, "is also in the network berth-docker-front-"),
    ],
)
def test_changed_container_is_reported_and_restored(
    up: DockerProject, change: Callable[[DockerProject], None], description: str
) -> None:
    name = up.container("berth", "digits", "1").name
    change(up)
    notes = up.json("status")["notes"]
    assert any(f"container {name} {description}" in note for note in notes), notes
    if change is _remove:  # One preview shows what all would.
        assert f"container {name} {description}" in up.berth("preview").stderr
    result = up.berth("up", "--yes")
    assert f"container {name} {description}" in result.stderr
    assert up.is_serving()


def test_rollback_returns_to_the_release_before_without_a_failed_request(
    up: DockerProject,
) -> None:
    def change(config: Any) -> None:
        config["berth:models"]["digits"]["serving"] = {"max_batch": 64}

    def get_environment() -> list[str]:
        environment: list[str] = up.container("berth", "digits", "1").attrs["Config"]["Env"]
        return environment

    up.deploy(change)
    assert "BERTH_MAX_BATCH=64" in get_environment()
    with up.load():
        up.berth("rollback", "--yes")
    assert "BERTH_MAX_BATCH=1024" in get_environment()


@pytest.mark.runs_last
def test_destroy_leaves_nothing_but_objects_of_someone_else(up: DockerProject) -> None:
    """Names of a stack's objects end with random characters, so none is taken over."""
    with contextlib.closing(up.engine.client()) as client:
        container = client.containers.create(
            up.container("entry").image,
            name="berth-docker-entry",
            labels={COMPONENT_LABEL: "entry"},
        )
        network = client.networks.create("berth-docker-front")
        volume = client.volumes.create("berth-docker-state")
        try:
            up.berth("destroy", "--yes")
            foreign = ["berth-docker-entry", "berth-docker-front", "berth-docker-state"]
            assert up.list_objects() == foreign
        finally:
            for each in (container, network, volume):
                each.remove()
    assert up.list_objects() == []
