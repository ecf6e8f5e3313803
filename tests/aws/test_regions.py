"""Stacks of several regions: what one says of itself to another, by the engine's own references."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.aws.program import Program
from tests.repository import REPOSITORY

_SAYS = """
from pathlib import Path
from types import SimpleNamespace
import pulumi
from berth.platforms.aws.regions import other_regions, said_to_regions, secret_of_edge
from berth.spec import load_file

stack = pulumi.get_stack()
spec = load_file(Path(__file__).parent / "specs" / f"Pulumi.{stack}.yaml")
others = other_regions(spec)
secret = secret_of_edge(spec, others) or ("s" * 32 if stack == "test" else None)
account = SimpleNamespace(region=REGIONS[stack])
for name, said in said_to_regions(spec, account, others, secret).items():
    pulumi.export(name, said)
""".replace("REGIONS", "{'test': 'eu-central-1', 'second': 'us-east-1', 'third': 'us-east-1'}")


def _spec(folder: Path, stack: str, latency: dict[str, Any] | None) -> None:
    content = yaml.safe_load((REPOSITORY / "Pulumi.dev.yaml").read_text())
    content["config"]["berth:edge"] = {} if latency is None else {"latency_routing": latency}
    (folder / "specs").mkdir(exist_ok=True)
    (folder / "specs" / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(content))


def _latency(name: str = "api.example.com", **more: Any) -> dict[str, Any]:
    return {"domain": {"name": name, "zone": "example.com"}, **more}


def _up(program: Program, stack: str, code: int = 0) -> str:
    done = program.pulumi("up", "--yes", "--skip-preview", "--stack", stack, code=code)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def regions(new_program: Callable[[str], Program]) -> Program:
    """`test` is up, and others may be."""
    program = new_program("regions").write(_SAYS)
    _spec(program.folder, "test", _latency())
    _up(program, "test")
    for stack in ("second", "third"):
        (program.folder / f"Pulumi.{stack}.yaml").write_text("config: {}\n")
        program.pulumi("stack", "init", stack)
    return program


def test_a_region_goes_with_another(regions: Program) -> None:
    _spec(regions.folder, "second", _latency(stacks=["test"], cdn_stack="test"))
    _up(regions, "second")
    said = regions.pulumi("stack", "output", "--json", "--stack", "second").stdout
    assert json.loads(said)["shared_api"] == {"name": "api.example.com", "region": "us-east-1"}


def test_the_edge_s_secret_goes_from_stack_to_stack_unseen(regions: Program) -> None:
    _spec(regions.folder, "second", _latency(stacks=["test"], cdn_stack="test"))
    _up(regions, "second")
    shown = ("stack", "output", "edge_secret", "--stack", "second")
    assert regions.pulumi(*shown).stdout.strip() == "[secret]"
    assert regions.pulumi(*shown, "--show-secrets").stdout.strip() == "s" * 32
    for state in (regions.folder / "state").rglob("*"):
        assert state.is_dir() or "s" * 32 not in state.read_text()


@pytest.mark.parametrize(
    ("latency", "said"),
    [
        (_latency("other.example.com", stacks=["test"]), "test serves api.example.com, not other"),
        (_latency(stacks=["test", "second"]), "second is in us-east-1 too; a region has one"),
    ],
)
def test_regions_that_do_not_go_together_are_refused(
    regions: Program, latency: dict[str, Any], said: str
) -> None:
    _spec(regions.folder, "second", _latency(stacks=["test"], cdn_stack="test"))
    _up(regions, "second")
    _spec(regions.folder, "third", latency)
    assert said in _up(regions, "third", code=1)
