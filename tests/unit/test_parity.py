"""The comparison of two stacks, with this repository's dev and prod."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.errors import OperationError
from berth.operations.parity import (
    Difference,
    as_json,
    compare_stacks,
    find_differences,
    format_markdown,
    format_text,
)
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


@pytest.mark.slow
def test_dev_and_prod_have_no_differences() -> None:
    assert compare_stacks(REPOSITORY, "dev", "prod") == []


def _change_structure(config: Any) -> None:
    config["berth:models"].pop("breast-cancer")
    config["berth:cluster"]["version"] = "1.34"
    config["berth:cluster"]["addons"]["vpc-cni"] = "v1.21.1-eksbuild.7"
    config["berth:encryption"]["rotation_days"] = 90


@pytest.mark.slow
def test_differences_are_listed_by_resource(stacks: Path) -> None:
    _edit(stacks, "prod", _change_structure)
    by_key = {
        (one.type.rpartition(":")[2], one.name, one.key): one
        for one in compare_stacks(stacks, "dev", "prod")
    }
    assert by_key["BuiltImage", "breast-cancer-1", ""].second == "(none)"
    version = by_key["Cluster", "cluster", "version"]
    assert (version.first, version.second) == ("1.35", "1.34")
    assert ("Addon", "vpc-cni", "addonVersion") in by_key
    assert ("Key", "logs-key", "rotationPeriodInDays") in by_key
    assert not [one for one in by_key if one[1] == "network"]


def _change_sizes(config: Any) -> None:
    config["berth:node_pools"]["general"] |= {"max": 7, "spot": False}
    config["berth:models"]["digits"]["traffic"] = {"1": 50, "2": 50}
    config["berth:network"] |= {"cidr": "10.99.0.0/16", "nat": "single"}
    config["berth:gateway"]["clients"]["other"] = {"rate_per_second": 1}
    config.pop("berth:budget")


@pytest.mark.slow
def test_values_that_may_differ_are_ignored(stacks: Path) -> None:
    _edit(stacks, "prod", _change_sizes)
    assert compare_stacks(stacks, "dev", "prod") == []


@pytest.mark.slow
def test_invalid_configuration_is_reported(stacks: Path) -> None:
    _edit(stacks, "prod", lambda config: config["berth:cluster"].update(version="latest"))
    with pytest.raises(OperationError, match=r"Pulumi.prod.yaml:\d+: berth:cluster.version"):
        compare_stacks(stacks, "dev", "prod")


_ONE: dict[str, Any] = {
    "type": "t",
    "name": "n",
    "inputs": {"a": {"b": [1, 2]}, "policy": '{"x": 1}'},
}


def test_properties_are_compared_separately() -> None:
    other = _ONE | {"inputs": {"a": {"b": [1, 3]}, "policy": '{ "x":1 }', "more": "|"}}
    assert find_differences([_ONE], [other]) == [
        Difference(type="t", name="n", key="a.b[1]", first="2", second="3"),
        Difference(type="t", name="n", key="more", first="(none)", second="|"),
    ]
    assert find_differences([_ONE], [_ONE]) == []


def test_missing_resource_is_one_difference() -> None:
    assert find_differences([_ONE], []) == [
        Difference(type="t", name="n", key="", first="declared", second="(none)")
    ]


def test_differences_are_formatted_as_text_markdown_and_json() -> None:
    differences = find_differences([_ONE], [_ONE | {"inputs": {**_ONE["inputs"], "more": "|"}}])
    assert (
        format_text("dev", "prod", differences).splitlines()[0] == "n (t) more: dev (none), prod |"
    )
    assert "| `t` | `n` | `more` | `(none)` | `\\|` |" in format_markdown(
        "dev", "prod", differences
    )
    assert (
        json.loads(json.dumps(as_json("dev", "prod", differences)))["differences"][0]["key"]
        == "more"
    )
    assert "declare the same" in format_text("dev", "prod", [])
    assert "declare the same" in format_markdown("dev", "prod", [])


def test_secret_value_is_hidden_in_difference() -> None:
    """The difference is still reported if one side has no value."""
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    one = {"type": "t", "name": "n", "inputs": {"a": 1, "key": {**secret, "value": "x"}}}
    other = {"type": "t", "name": "n", "inputs": {"a": 1}}
    [difference] = find_differences([one], [other])
    assert (difference.key, difference.first, difference.second) == ("key", "(secret)", "(none)")
