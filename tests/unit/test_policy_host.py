"""Whether the engine at hand can hold a stack against the baseline, and what is said if not."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.cli_policy import against_baseline
from infra.engine import runs_policy_packs
from infra.operations.stack import Stack
from infra.spec import load_file

_ROOT = Path(__file__).resolve().parents[2]


def _host(folder: Path, content: bytes) -> str:
    program = folder / "pulumi-language-python"
    program.write_bytes(content)
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("content", "runs"), [(b"...AnalyzerStackConfigureRequest...", True), (b"older", False)]
)
def test_a_host_that_knows_how_a_pack_is_told_its_configuration(
    tmp_path: Path, content: bytes, runs: bool
) -> None:
    assert runs_policy_packs(_host(tmp_path, content)) is runs


def test_without_a_host_there_is_none_that_does(tmp_path: Path) -> None:
    assert not runs_policy_packs(str(tmp_path))


def test_a_stack_that_cannot_be_held_against_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = load_file(_ROOT / "Pulumi.dev.yaml")
    stack = Stack("dev", _ROOT, {"PATH": _host(tmp_path, b"older")})
    assert against_baseline(stack, spec).policy_pack is None
    assert "the security baseline is not asked" in capsys.readouterr().err
    newer = replace(stack, environment={"PATH": _host(tmp_path, b"AnalyzerStackConfigure")})
    assert against_baseline(newer, spec).policy_pack == _ROOT / "policy"
    local = load_file(_ROOT / "Pulumi.local.yaml")
    assert against_baseline(newer, local).policy_pack is None
