"""What the engine shows a policy, as plain data."""

from types import SimpleNamespace
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from berth_policy.plain import is_left_out, plain_resources
from berth_policy.rule import UNKNOWN


def _shown(kind: str, props: dict[str, Any], **properties: Any) -> Any:
    return SimpleNamespace(
        resource_type=kind,
        props=unknown_checking_proxy(props),
        urn="u",
        name="n",
        opts=SimpleNamespace(protect=True),
        property_dependencies=properties,
    )


def test_what_is_not_known_yet_is_unknown_wherever_it_stands() -> None:
    props = {"a": [UNKNOWN_STRING_VALUE, {"b": UNKNOWN_STRING_VALUE}], "c": 1}
    [found] = plain_resources([_shown("aws:x", props, a=[SimpleNamespace(urn="other")])])
    assert found.props == {"a": [UNKNOWN, {"b": UNKNOWN}], "c": 1}
    assert (found.protect, found.refers) == (True, {"a": frozenset({"other"})})


@pytest.mark.parametrize(
    ("kind", "props", "left_out"),
    [
        ("kubernetes:core/v1:Namespace", {}, True),
        ("kubernetes:core/v1:Namespace", {"kind": "Namespace"}, False),
        ("aws:kms/key:Key", {}, False),
    ],
)
def test_what_an_update_leaves_as_it_is_is_not_looked_at(
    kind: str, props: dict[str, Any], left_out: bool
) -> None:
    assert is_left_out(kind, props) is left_out
    assert (plain_resources([_shown(kind, props)]) == []) is left_out
