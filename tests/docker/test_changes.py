"""Changes of a running stack fail no request."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.docker.hosting import DockerProject

pytestmark = pytest.mark.slow


def _ids(project: DockerProject, component: str, **names: str) -> set[str]:
    return {str(each.id) for each in project.find(component, **names)}


def _change_settings(config: Any) -> None:
    config["berth:models"]["digits"]["serving"] = {"max_batch": 512}


def _change_weights(config: Any) -> None:
    config["berth:models"]["digits"]["traffic"] = {"1": 50, "2": 50}


def _remove_version(config: Any) -> None:
    digits = config["berth:models"]["digits"]
    del digits["versions"]["2"]
    digits["traffic"] = {"1": 100}


def _add_shadow(config: Any) -> None:
    digits = config["berth:models"]["digits"]
    digits["versions"]["2"] = {}
    digits["traffic"], digits["shadow"] = {"1": 100}, "2"


def _add_key(config: Any) -> None:
    config["berth:gateway"]["clients"]["partner"] = {}


def _replace_gateway(config: Any) -> None:
    config["berth:gateway"]["resources"] = {"memory": "320Mi"}
    # At once with the berths behind it: the old gateway serves until the new one does.
    config["berth:models"]["digits"]["serving"] = {"max_batch": 256}


def test_no_change_fails_a_request(up: DockerProject) -> None:
    entry = _ids(up, "entry")
    steps: list[tuple[Callable[[Any], None], bool, bool]] = [
        # Change, whether it replaces the berth digits 1, and whether it replaces the gateways.
        (_change_settings, True, False),
        (_change_weights, False, False),
        (_remove_version, False, False),
        (_add_shadow, False, False),
        (_add_key, False, False),
        (_replace_gateway, True, True),
    ]
    for change, replaces_berth, replaces_gateway in steps:
        berth, gateways = _ids(up, "berth", model="digits", version="1"), _ids(up, "gateway")
        with up.load() as load:
            up.deploy(change)
        assert load.total > 50
        name = change.__name__
        after = _ids(up, "berth", model="digits", version="1")
        assert (after.isdisjoint(berth), len(after)) == (replaces_berth, 1), name
        after = _ids(up, "gateway")
        assert (after.isdisjoint(gateways), len(after)) == (replaces_gateway, 2), name
        print(name, dict(load.statuses), dict(load.versions))
    assert _ids(up, "entry") == entry
