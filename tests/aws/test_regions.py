"""Stacks in several Regions: the outputs that they read through the engine's stack references."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.aws.program import Program
from tests.repository import REPOSITORY

_PROGRAM = """
from pathlib import Path
from types import SimpleNamespace
import pulumi
from berth.platforms.aws.regions import other_regions, read_edge_secret, region_outputs
from berth.spec import load_file

stack = pulumi.get_stack()
spec = load_file(Path(__file__).parent / "specs" / f"Pulumi.{stack}.yaml")
others = other_regions(spec)
secret = read_edge_secret(spec, others) or ("s" * 32 if stack == "test" else None)
account = SimpleNamespace(region=REGIONS[stack])
for name, output in region_outputs(spec, account, others, secret).items():
    pulumi.export(name, output)
""".replace("REGIONS", "{'test': 'eu-central-1', 'second': 'us-east-1', 'third': 'us-east-1'}")


def _write_spec(directory: Path, stack: str, latency: dict[str, Any] | None) -> None:
    content = yaml.safe_load((REPOSITORY / "Pulumi.dev.yaml").read_text())
    content["config"]["berth:edge"] = {} if latency is None else {"latency_routing": latency}
    # All Regions accept the same keys, so no stack generates its own.
    content["config"]["berth:gateway"]["clients"]["default"]["key"] = {"secure": "v1:key"}
    (directory / "specs").mkdir(exist_ok=True)
    (directory / "specs" / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(content))


def _latency(name: str = "api.example.com", **more: Any) -> dict[str, Any]:
    return {"domain": {"name": name, "zone": "example.com"}, **more}


def _up(program: Program, stack: str, code: int = 0) -> str:
    result = program.pulumi("up", "--yes", "--skip-preview", "--stack", stack, code=code)
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def regions(new_program: Callable[[str], Program]) -> Program:
    """Return a program whose stack `test` is deployed and whose other stacks exist."""
    program = new_program("regions").write(_PROGRAM)
    _write_spec(program.directory, "test", _latency())
    _up(program, "test")
    for stack in ("second", "third"):
        (program.directory / f"Pulumi.{stack}.yaml").write_text("config: {}\n")
        program.pulumi("stack", "init", stack)
    return program


def test_matching_stack_exports_its_region(regions: Program) -> None:
    _write_spec(regions.directory, "second", _latency(stacks=["test"], cdn_stack="test"))
    _up(regions, "second")
    outputs = regions.pulumi("stack", "output", "--json", "--stack", "second").stdout
    assert json.loads(outputs)["shared_api"] == {"name": "api.example.com", "region": "us-east-1"}


def test_edge_secret_of_another_stack_stays_encrypted(regions: Program) -> None:
    _write_spec(regions.directory, "second", _latency(stacks=["test"], cdn_stack="test"))
    _up(regions, "second")
    command = ("stack", "output", "edge_secret", "--stack", "second")
    assert regions.pulumi(*command).stdout.strip() == "[secret]"
    assert regions.pulumi(*command, "--show-secrets").stdout.strip() == "s" * 32
    for state in (regions.directory / "state").rglob("*"):
        assert state.is_dir() or "s" * 32 not in state.read_text()


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        (_latency("other.example.com", stacks=["test"]), "test serves api.example.com, not other"),
        (_latency(stacks=["test", "second"]), "second is also in us-east-1; each Region can"),
    ],
)
def test_stacks_that_do_not_match_are_rejected(
    regions: Program, latency: dict[str, Any], message: str
) -> None:
    _write_spec(regions.directory, "second", _latency(stacks=["test"], cdn_stack="test"))
    _up(regions, "second")
    _write_spec(regions.directory, "third", latency)
    assert message in _up(regions, "third", code=1)
