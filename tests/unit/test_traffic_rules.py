"""The specification and the public components reject the same traffic with the same words."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from berth.spec.models import ModelSpec
from pulumi_berth.component_args import ArgumentError
from pulumi_berth.hosted_models import HostedModelArgs, HostedVersionArgs, check_models
from pulumi_berth.traffic_rules import ModelUse, VersionUse, find_traffic_problems
from tests.repository import PACKAGES, REPOSITORY

_VERSIONS: dict[str, dict[str, Any]] = {"1": {}, "2": {}}


def _find_spec_messages(model: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        ModelSpec.model_validate(model)
    (error,) = caught.value.errors()
    return [problem.message for problem in error["ctx"]["problems"]]


def _find_component_messages(model: dict[str, Any]) -> list[str]:
    directory = str(REPOSITORY / "models" / "digits" / "1")
    versions = {
        name: HostedVersionArgs(directory=directory, **entry)
        for name, entry in model["versions"].items()
    }
    with pytest.raises(ArgumentError) as caught:
        check_models({"digits": HostedModelArgs(**{**model, "versions": versions})})
    return [message for _, message in caught.value.problems]


@pytest.mark.parametrize(
    "model",
    [
        {"versions": _VERSIONS},
        {"versions": _VERSIONS, "traffic": {"1": 90}},
        {"versions": _VERSIONS, "traffic": {"1": 90, "3": 20}},
        {"versions": _VERSIONS, "traffic": {"1": 90, "2": 10}, "shadow": "2"},
        {"versions": _VERSIONS, "traffic": {"1": 100}, "shadow": "3"},
        {"versions": {"1": {"exposed": False}, "2": {}}, "traffic": {"1": 100}},
    ],
)
def test_specification_and_components_reject_the_same_traffic(model: dict[str, Any]) -> None:
    in_spec, in_component = _find_spec_messages(model), _find_component_messages(model)
    assert in_spec
    # A component's message begins with the value, which the specification prints separately.
    assert [
        message.endswith(expected) for message, expected in zip(in_component, in_spec, strict=True)
    ] == [True] * len(in_spec)


@pytest.mark.parametrize("percent", [-1, 101])
def test_percentage_outside_its_range_is_a_problem(percent: int) -> None:
    """The values of a specification are checked before its rules, those of a component are not."""
    traffic = {"1": percent, "2": 100 - percent}
    use = ModelUse(versions={"1": VersionUse(), "2": VersionUse()}, traffic=traffic)
    problems = [problem.path for problem in find_traffic_problems(use)]
    assert problems == [("traffic", "1"), ("traffic", "2")]


def test_rules_load_without_pulumi() -> None:
    program = "import sys, berth.spec.models; print('pulumi' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": PACKAGES}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "False"
