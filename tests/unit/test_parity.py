"""Two stacks side by side: the project's own dev and prod, and what would set them apart."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.errors import OperationError
from berth.operations.parity import Departure, as_json, as_markdown, as_text, departures, parity
from tests.repository import REPOSITORY


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    for name in ("dev", "prod"):
        shutil.copy2(REPOSITORY / f"Pulumi.{name}.yaml", tmp_path)
    return tmp_path


def _edit(folder: Path, stack: str, change: Callable[[Any], None]) -> None:
    path = folder / f"Pulumi.{stack}.yaml"
    content = YAML().load(path.read_text())
    change(content["config"])
    with path.open("w") as stream:
        YAML().dump(content, stream)


def test_dev_and_prod_declare_the_same() -> None:
    assert parity(REPOSITORY, "dev", "prod") == []


def _apart(config: Any) -> None:
    config["berth:models"].pop("breast-cancer")
    config["berth:cluster"]["version"] = "1.34"
    config["berth:cluster"]["addons"].pop("vpc-cni")
    config["berth:encryption"]["rotation_days"] = 90


def test_departures_are_found_by_resource(stacks: Path) -> None:
    _edit(stacks, "prod", _apart)
    found = {
        (one.type.rpartition(":")[2], one.name, one.key): one
        for one in parity(stacks, "dev", "prod")
    }
    assert found["BuiltImage", "breast-cancer-1", ""].second == "(none)"
    version = found["Cluster", "cluster", "version"]
    assert (version.first, version.second) == ("1.35", "1.34")
    assert ("Addon", "vpc-cni", "addonVersion") in found
    assert ("Key", "logs-key", "rotationPeriodInDays") in found
    assert not [one for one in found if one[1] == "network"]


def _of_another_size(config: Any) -> None:
    config["berth:node_pools"]["general"] |= {"max": 7, "spot": False}
    config["berth:models"]["digits"]["traffic"] = {"1": 50, "2": 50}
    config["berth:network"] |= {"cidr": "10.99.0.0/16", "nat": "single"}
    config["berth:gateway"]["clients"]["other"] = {"rate_per_second": 1}
    config.pop("berth:budget")


def test_sizes_are_no_departures(stacks: Path) -> None:
    _edit(stacks, "prod", _of_another_size)
    assert parity(stacks, "dev", "prod") == []


def test_a_broken_configuration_is_told(stacks: Path) -> None:
    _edit(stacks, "prod", lambda config: config["berth:cluster"].update(version="latest"))
    with pytest.raises(OperationError, match=r"Pulumi.prod.yaml:\d+: berth:cluster.version"):
        parity(stacks, "dev", "prod")


_ONE = {"type": "t", "name": "n", "inputs": {"a": {"b": [1, 2]}, "policy": '{"x": 1}'}}


def test_properties_are_compared_one_by_one() -> None:
    other = _ONE | {"inputs": {"a": {"b": [1, 3]}, "policy": '{ "x":1 }', "more": "|"}}
    assert departures([_ONE], [other]) == [
        Departure(type="t", name="n", key="a.b[1]", first="2", second="3"),
        Departure(type="t", name="n", key="more", first="(none)", second="|"),
    ]
    assert departures([_ONE], [_ONE]) == []


def test_what_only_one_declares_is_one_departure() -> None:
    assert departures([_ONE], []) == [
        Departure(type="t", name="n", key="", first="declared", second="(none)")
    ]


def test_it_is_shown_to_people_and_machines() -> None:
    found = departures([_ONE], [_ONE | {"inputs": {**_ONE["inputs"], "more": "|"}}])
    assert as_text("dev", "prod", found).splitlines()[0] == "n (t) more: dev (none), prod |"
    assert "| `t` | `n` | `more` | `(none)` | `\\|` |" in as_markdown("dev", "prod", found)
    assert json.loads(json.dumps(as_json("dev", "prod", found)))["departures"][0]["key"] == "more"
    assert "declare the same" in as_text("dev", "prod", [])
    assert "declare the same" in as_markdown("dev", "prod", [])


def test_a_secret_is_no_text_of_a_departure() -> None:
    """As Pulumi marks one; that it is another is told all the same where one side has none."""
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    one = {"type": "t", "name": "n", "inputs": {"a": 1, "key": {**secret, "value": "x"}}}
    other = {"type": "t", "name": "n", "inputs": {"a": 1}}
    [found] = departures([one], [other])
    assert (found.key, found.first, found.second) == ("key", "(secret)", "(none)")
