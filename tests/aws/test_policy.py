"""The policy pack with the real engine, through the installed program that runs it."""

import datetime
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.aws.program import Program

_PACK = ("--policy-pack", str(files("berth_policy")), "--stack", "test")
_PROGRAM = """
import pulumi
from pulumi_aws import kms, s3, sns

kms.Key("static", enable_key_rotation=False)
sns.Topic("encrypted", kms_master_key_id="alias/aws/sns")
s3.Bucket("open")
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Program:
    return new_program("policy").write(_PROGRAM)


def _set_exceptions(program: Program, *exceptions: dict[str, str]) -> None:
    path = program.directory / "Pulumi.test.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    content["config"]["berth:policy"] = {"exceptions": list(exceptions)}
    path.write_text(yaml.safe_dump(content))


_SOON = (datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=30)).isoformat()


def _exception(rule: str, resource: str, expires: str = _SOON) -> dict[str, str]:
    return {"rule": rule, "resource": resource, "reason": "for this test", "expires": expires}


_OPEN_BUCKET = [
    _exception(rule, "open")
    for rule in ("s3-no-public-access", "s3-versioned", "s3-encrypted", "s3-tls-only")
]


def test_engine_starts_the_pack_through_the_installed_script(
    program: Program, tmp_path: Path
) -> None:
    name, calls = "pulumi-analyzer-policy-berth", tmp_path / "calls"
    installed = Path(sys.executable).parent / name
    wrapper = tmp_path / name
    wrapper.write_text(f'#!/bin/sh\necho "$(pwd) $@" >> {calls}\nexec {installed} "$@"\n')
    wrapper.chmod(0o755)
    _set_exceptions(program)
    output = program.pulumi("preview", *_PACK, code=1, programs=tmp_path).stdout
    assert "kms-rotates (medium): static" in output
    assert str(files("berth_policy")) in calls.read_text()


def test_preview_reports_every_violation_and_its_remedy(program: Program) -> None:
    _set_exceptions(program)
    output = program.pulumi("preview", *_PACK, code=1).stdout
    for expected in (
        "[mandatory]  baseline  (aws:kms:Key: static)",
        "kms-rotates (medium): static: enableKeyRotation is False",
        "Set enable_key_rotation to true.",
        "[mandatory]  baseline-stack  (aws:s3:Bucket: open)",
        "s3-no-public-access (critical): open: it has no public access block",
    ):
        assert expected in output
    assert "sns-encrypted" not in output


def test_update_creates_no_resource_with_a_violation(program: Program) -> None:
    _set_exceptions(program)
    kms = program.aws.client("kms")
    before = kms.list_keys()["Keys"]
    program.pulumi("up", "--yes", "--skip-preview", *_PACK, code=1)
    assert kms.list_keys()["Keys"] == before


def test_accepted_violation_passes_and_is_reported(program: Program) -> None:
    _set_exceptions(program, _exception("kms-rotates", "static"), *_OPEN_BUCKET)
    output = program.pulumi("preview", *_PACK).stdout
    assert f"kms-rotates for static applies until {_SOON}: for this test" in output


def test_expired_exception_accepts_no_violation(program: Program) -> None:
    _set_exceptions(program, _exception("kms-rotates", "static", "2020-01-31"), *_OPEN_BUCKET)
    output = program.pulumi("preview", *_PACK, code=1).stdout
    assert "kms-rotates (medium): static" in output


def test_exception_for_more_than_a_year_is_rejected(program: Program) -> None:
    _set_exceptions(program, _exception("kms-rotates", "static", "2999-12-31"))
    result = program.pulumi("preview", *_PACK, code=1)
    assert "2999-12-31 is more than a year away" in result.stdout + result.stderr


def test_exception_from_unknown_rule_is_rejected(program: Program) -> None:
    _set_exceptions(program, _exception("kms-turns", "static"))
    result = program.pulumi("preview", *_PACK, code=1)
    expected = "'kms-turns' is not a rule; known rules: api-firewall"
    assert expected in result.stdout + result.stderr
