"""Changes of a running stack fail no request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berth_protocol.model_card import read_card
from tests.docker.hosting import DockerProject

pytestmark = pytest.mark.slow


def _ids(project: DockerProject, component: str, **names: str) -> set[str]:
    return {str(each.id) for each in project.find(component, **names)}


def _change_settings(config: Any) -> None:
    config["berth:models"]["digits"] |= {
        "serving": {"max_batch": 512},
        "capture": {"percent": 100},
    }


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
    # With an issuer outside the engine, the gateways are in another network too.
    config["berth:gateway"]["jwt"] = {
        "issuer": "x",
        "audience": "x",
        "jwks_url": "https://issuer.invalid/keys",
    }
    # At once with a berth behind it: the old gateway serves until the new one does.
    config["berth:models"]["digits"]["serving"] = {"max_batch": 256}


def test_no_change_of_models_and_clients_fails_a_request(up: DockerProject, tmp_path: Path) -> None:
    entry, gateways = _ids(up, "entry"), _ids(up, "gateway")
    steps: list[tuple[Callable[[Any], None], bool]] = [
        # Change, and whether it replaces the berth of version 1.
        (_change_settings, True),
        (_change_weights, False),
        (_remove_version, False),
        (_add_shadow, False),
        (_add_key, False),
    ]
    for change, replaces_berth in steps:
        berth = _ids(up, "berth", model="digits", version="1")
        with up.load() as load:
            up.deploy(change)
        assert load.total > 50
        after = _ids(up, "berth", model="digits", version="1")
        assert (after.isdisjoint(berth), len(after)) == (replaces_berth, 1), change.__name__
    assert _ids(up, "gateway") == gateways
    assert _ids(up, "entry") == entry
    # The requests of the load, which the berth of version 1 keeps in its container.
    out = tmp_path / "rows.jsonl"
    up.berth("capture", "digits", "1", "--out", str(out))
    captured = json.loads(out.read_text().splitlines()[-1])
    example = read_card(up.root / "models" / "digits" / "1").example["inputs"]
    assert [each["name"] for each in captured["inputs"]] == [each["name"] for each in example]
    assert {each["name"] for each in captured["outputs"]} == {"label", "probabilities"}


def test_replaced_gateway_and_berth_fail_no_request(up: DockerProject) -> None:
    entry, gateways = _ids(up, "entry"), _ids(up, "gateway")
    with up.load() as load:
        up.deploy(_replace_gateway)
    assert load.total > 50
    after = _ids(up, "gateway")
    assert len(after) == 2
    assert after.isdisjoint(gateways)
    assert _ids(up, "entry") == entry


def test_rollout_moves_the_traffic_without_a_failed_request(up: DockerProject) -> None:
    with up.load() as load:
        result = up.json(
            *("rollout", "digits", "2", "--yes", "--steps", "50,100", "--bake", "1"),
            *("--max-failed", "20%", "--max-slow", "off"),
        )
    assert result["result"] == "promoted"
    assert load.versions["2"] > 0
    assert up.json("status")["models"]["digits"]["versions"]["2"]["traffic"] == 100
