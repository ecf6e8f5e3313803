"""What stops an update before the engine starts is one list, and `berth preflight` checks it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from berth.cli import stacks
from berth.operations import preflight
from berth.platforms import get_platform
from berth.platforms.platform import Platform
from berth.platforms.preflight import Finding, Requirement, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_file
from tests.repository import REPOSITORY

_STACKS = {"local": "local", "docker": "docker", "kubernetes": "kubernetes", "aws": "dev"}
# Functions that cannot refuse: both commands call the first, and the others return text.
_HARMLESS = ("complete_configuration", "find_warnings")


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise SpecError.of("refused without a requirement")


def _replace_functions(platform: Platform) -> Platform:
    """Return the platform with functions that refuse, and without requirements."""
    functions: dict[str, Any] = {
        field.name: _refuse
        for field in dataclasses.fields(platform)
        if callable(getattr(platform, field.name)) and field.name not in _HARMLESS
    }
    harmless: dict[str, Any] = dict.fromkeys(_HARMLESS, lambda _: [])
    return dataclasses.replace(platform, **{**functions, **harmless, "preflight": None})


def _pass(name: str) -> Callable[[StackContext], Finding]:
    return lambda _: Finding(check=name, status=Status.PASSED, detail="fine")


@pytest.mark.parametrize("platform", _STACKS)
def test_each_requirement_stops_up_and_fails_in_preflight(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _STACKS[platform]
    replaced = _replace_functions(get_platform(platform))
    path = REPOSITORY / f"Pulumi.{name}.yaml"
    context = StackContext(root=REPOSITORY, stack=name, spec=load_file(path))
    listed = [one.name for one in preflight.list_requirements(context, path, print)]
    assert len(set(listed)) == len(listed)
    assert {"models", "ownership", "tools"} < set(listed) or platform == "local"
    requirements = [Requirement(name=one, check=_pass(one)) for one in listed]
    for module in (stacks, preflight):
        monkeypatch.setattr(module, "get_platform", lambda _: replaced)
    monkeypatch.setattr(preflight, "list_requirements", lambda *_: requirements)
    # Nothing else refuses.
    assert stacks.load_deployable_spec(REPOSITORY, name)
    for number, one in enumerate(listed):
        broken = [*requirements]
        broken[number] = Requirement(name=one, check=_refuse)
        monkeypatch.setattr(preflight, "list_requirements", lambda *_, broken=broken: broken)
        with pytest.raises(SpecError):
            stacks.load_deployable_spec(REPOSITORY, name)
        findings = preflight.find_problems(context, broken)
        assert [found.check for found in findings if found.status is Status.FAILED] == [one]


def test_platform_lists_its_requirements() -> None:
    """Both commands read them from the platform's record."""
    names = {
        platform: [one.name for one in get_platform(platform).list_requirements()]
        for platform in _STACKS
    }
    assert names == {
        "local": [],
        "docker": ["certificate", "target"],
        "kubernetes": ["target"],
        "aws": [
            "cluster-version",
            "capacity",
            "credentials",
            "cluster-access",
            "replication-rules",
        ],
    }


def test_every_check_is_in_the_reference() -> None:
    from berth.platforms.aws.preflight_checks import CHECKS

    page = (REPOSITORY / "docs" / "reference" / "command-line.md").read_text()
    context = StackContext(root=Path(), stack="dev", spec=load_file(REPOSITORY / "Pulumi.dev.yaml"))
    requirements = preflight.list_requirements(context, Path(), print)
    for name in [*CHECKS, *(one.name for one in requirements), "target"]:
        assert f"| `{name}`" in page or f", `{name}` |" in page, name
