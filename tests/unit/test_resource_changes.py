"""The changed resources, from the engine's events."""

import json
from typing import Any

from berth.operations.resource_changes import Operation, ResourceChange, read_changes

_STACK = "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SECRET = {
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
    "ciphertext": "[secret]",
}


def _step(
    operation: str,
    name: str,
    *,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    kind: str = "x:y:Thing",
    parent: str = _STACK,
    **more: Any,
) -> dict[str, Any]:
    """Return an event of the engine, with the inputs `old` and `new`."""
    state = {"custom": True, "parent": parent, "outputs": {}}
    metadata = {
        "op": operation,
        "urn": f"urn:pulumi:dev::demo::{kind}::{name}",
        "type": kind,
        "old": None if old is None else {**state, "inputs": old},
        "new": None if new is None else {**state, "inputs": new},
        **more,
    }
    return {"resourcePreEvent": {"metadata": metadata}}


def _read(*events: dict[str, Any]) -> list[ResourceChange]:
    return read_changes(json.dumps(event) for event in events)


def test_replacement_is_one_change_with_the_inputs_that_force_it() -> None:
    old, new = {"size": 1, "name": "a"}, {"size": 2, "name": "a"}
    (change,) = _read(
        _step("create-replacement", "a", old=old, new=new, keys=["size"]),
        _step("replace", "a", old=old, new=new, keys=["size"]),
        _step("delete-replaced", "a", old=old),
    )
    assert change.operation is Operation.REPLACE
    assert (change.properties, change.replaced_by) == (("size",), ("size",))
    assert not change.has_gap


def test_replacement_that_deletes_first_has_a_gap() -> None:
    old, new = {"size": 1}, {"size": 2}
    (change,) = _read(
        _step("delete-replaced", "a", old=old),
        _step("replace", "a", old=old, new=new, keys=["size"]),
        _step("create-replacement", "a", old=old, new=new, keys=["size"]),
    )
    assert change.has_gap


def test_properties_are_paths_without_values() -> None:
    (change,) = _read(
        _step(
            "update",
            "a",
            old={"spec": {"items": [{"image": "a"}], "replicas": 1}, "gone": 1, "__provider": "x"},
            new={"spec": {"items": [{"image": "b"}], "replicas": 1}, "added": 2, "__provider": "y"},
        )
    )
    assert change.properties == ("added", "gone", "spec.items[0].image")


def test_value_that_is_not_known_yet_is_one_property() -> None:
    (change,) = _read(
        _step("update", "a", old={"config": {"a": 1, "b": 2}}, new={"config": _UNKNOWN})
    )
    assert (change.properties, change.unknown) == (("config",), ("config",))


def test_property_with_an_unknown_value_below_is_not_known_either() -> None:
    (change,) = _read(
        _step("update", "a", old={"a": 1, "b": ["x"]}, new={"a": 2, "b": ["x", _UNKNOWN]})
    )
    assert (change.properties, change.unknown) == (("a", "b"), ("b",))


def test_changed_secret_is_named_by_the_diff_of_the_provider() -> None:
    """In events, each secret has the same replacement."""
    (change,) = _read(
        _step("update", "a", old={"key": _SECRET}, new={"key": _SECRET}, diffs=["key"])
    )
    assert change.properties == ("key",)


def test_components_providers_and_unchanged_resources_are_not_listed() -> None:
    component = _step("delete", "c", old={})
    component["resourcePreEvent"]["metadata"]["old"]["custom"] = False
    assert (
        _read(
            component,
            _step("same", "a", old={}, new={}),
            _step("update", "p", old={}, new={"x": 1}, kind="pulumi:providers:aws"),
        )
        == []
    )


def test_changes_are_grouped_by_the_parent_component() -> None:
    parent = "urn:pulumi:dev::demo::berth:local:Berth::digits-1"
    changes = _read(
        _step("create", "z", new={}),
        _step("create", "b", new={}, parent=parent),
        _step("create", "a", new={}, parent=parent),
    )
    assert [(change.component, change.name) for change in changes] == [
        ("Berth digits-1", "a"),
        ("Berth digits-1", "b"),
        ("stack", "z"),
    ]
