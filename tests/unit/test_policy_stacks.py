"""The sample stacks on AWS follow the security baseline, as their program declares them."""

import pytest

from berth_policy.rule import Resource, Stack, find_violations
from berth_policy.rules import RULES
from tests.aws.reality.declared import declare

# Without an engine, images have no references, and resources no dependencies by which the rules
# about several resources find them. tests/aws runs these rules with the engine.
_NEED_ENGINE = {"pod-image-pinned", "pod-image-digest"}
_NEED_NO_DEPENDENCIES = {"service-not-public"}
_CHECKED = [
    rule
    for rule in RULES
    if rule.id not in _NEED_ENGINE and (not rule.needs_stack or rule.id in _NEED_NO_DEPENDENCIES)
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dev", "prod"])
def test_sample_stack_breaks_no_rule(name: str) -> None:
    resources = [
        Resource(
            type=one["type"], name=one["name"], urn=one["urn"], props=one["inputs"], protect=True
        )
        for one in declare(name)
    ]
    stack = Stack(resources=resources)
    violations = [
        (one.rule.id, one.resource.name, one.message)
        for one in find_violations(_CHECKED, resources, stack)
    ]
    assert violations == []
    assert {"kubernetes:apps/v1:Deployment", "aws:iam/role:Role"} <= {one.type for one in resources}
