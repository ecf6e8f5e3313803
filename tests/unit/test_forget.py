"""Resources that leave a state without being deleted."""

import copy
from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.forget import forget_resources

_PROVIDER = "urn:x::host$pulumi:providers:docker::engine"
_STATE: dict[str, Any] = {
    "version": 3,
    "deployment": {
        "resources": [
            {"urn": "urn:x::host::two"},
            {"urn": _PROVIDER, "parent": "urn:x::host::two"},
            {"urn": "lost", "parent": "urn:x::host::two", "provider": f"{_PROVIDER}::id"},
            {
                "urn": "kept",
                "dependencies": ["other", "lost"],
                "propertyDependencies": {"files": ["lost"], "name": ["other"], "none": None},
                "deletedWith": "lost",
            },
        ],
        "pending_operations": [{"resource": {"urn": "lost"}}, {"resource": {"urn": "kept"}}],
    },
}
_LOST = {"urn:x::host::two", _PROVIDER, "lost"}


def test_forgotten_resources_and_references_to_them_leave_the_state() -> None:
    before = copy.deepcopy(_STATE)
    deployment = forget_resources(_STATE, _LOST)["deployment"]
    assert deployment["resources"] == [
        {
            "urn": "kept",
            "dependencies": ["other"],
            "propertyDependencies": {"files": [], "name": ["other"], "none": []},
        }
    ]
    assert deployment["pending_operations"] == [{"resource": {"urn": "kept"}}]
    assert before == _STATE


@pytest.mark.parametrize("urn", ["urn:x::host::two", _PROVIDER])
def test_parent_or_provider_of_a_resource_that_stays_is_not_forgotten(urn: str) -> None:
    with pytest.raises(OperationError, match=r"needs it\. Nothing was changed"):
        forget_resources(_STATE, {urn})
