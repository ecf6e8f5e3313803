"""Conversion of the engine's resources into plain data."""

from types import SimpleNamespace
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from berth_policy.conversion import convert_stack, is_excluded
from berth_policy.rule import UNKNOWN


def _engine_resource(kind: str, props: dict[str, Any], **properties: Any) -> Any:
    return SimpleNamespace(
        resource_type=kind,
        props=unknown_checking_proxy(props),
        urn="u",
        name="n",
        opts=SimpleNamespace(protect=True),
        property_dependencies=properties,
    )


def test_unknown_values_are_converted_at_every_depth() -> None:
    props = {"a": [UNKNOWN_STRING_VALUE, {"b": UNKNOWN_STRING_VALUE}], "c": 1}
    engine_resource = _engine_resource("aws:x", props, a=[SimpleNamespace(urn="other")])
    [converted] = convert_stack([engine_resource])
    assert converted.props == {"a": [UNKNOWN, {"b": UNKNOWN}], "c": 1}
    assert (converted.protect, converted.references) == (True, {"a": frozenset({"other"})})


@pytest.mark.parametrize(
    ("kind", "props", "excluded"),
    [
        ("kubernetes:core/v1:Namespace", {}, True),
        ("kubernetes:core/v1:Namespace", {"kind": "Namespace"}, False),
        ("kubernetes:helm.sh/v3:Release", {"chart": "nginx"}, False),
        ("kubernetes:core/v1:Pod", {"spec": {}}, False),
        ("aws:kms/key:Key", {}, False),
    ],
)
def test_excluded_kubernetes_objects_are_not_converted(
    kind: str, props: dict[str, Any], excluded: bool
) -> None:
    assert is_excluded(kind, props) is excluded
    assert (convert_stack([_engine_resource(kind, props)]) == []) is excluded
