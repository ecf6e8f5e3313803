"""The policy pack by the real engine: what breaks a rule is not made, and is told."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.aws.program import Program
from tests.repository import REPOSITORY

_PACK = ("--policy-pack", str(REPOSITORY / "policy" / "berth_policy"), "--stack", "test")
_PROGRAM = """
import pulumi
from pulumi_aws import kms, s3, sns

kms.Key("turning", enable_key_rotation=False)
sns.Topic("told", kms_master_key_id="alias/aws/sns")
s3.Bucket("open")
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Program:
    return new_program("policy").write(_PROGRAM)


def _accept(program: Program, *exceptions: dict[str, str]) -> None:
    path = program.folder / "Pulumi.test.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    content["config"]["berth:policy"] = {"exceptions": list(exceptions)}
    path.write_text(yaml.safe_dump(content))


def _exception(rule: str, resource: str, expires: str = "2999-12-31") -> dict[str, str]:
    return {"rule": rule, "resource": resource, "reason": "for this test", "expires": expires}


_OPEN = [
    _exception(rule, "open")
    for rule in ("s3-no-public-access", "s3-versioned", "s3-encrypted", "s3-tls-only")
]


def test_a_preview_tells_every_broken_rule_and_its_remedy(program: Program) -> None:
    _accept(program)
    said = program.pulumi("preview", *_PACK, code=1).stdout
    for expected in (
        "[mandatory]  baseline  (aws:kms:Key: turning)",
        "kms-rotates (medium): turning: enableKeyRotation is False",
        "Set enable_key_rotation to true.",
        "[mandatory]  baseline-together  (aws:s3:Bucket: open)",
        "s3-no-public-access (critical): open: it has no public access block",
    ):
        assert expected in said
    assert "sns-encrypted" not in said


def test_an_update_makes_nothing_that_breaks_a_rule(program: Program) -> None:
    _accept(program)
    kms = program.aws.client("kms")
    before = kms.list_keys()["Keys"]
    program.pulumi("up", "--yes", "--skip-preview", *_PACK, code=1)
    assert kms.list_keys()["Keys"] == before


def test_what_is_accepted_passes_and_is_told(program: Program) -> None:
    _accept(program, _exception("kms-rotates", "turning"), *_OPEN)
    said = program.pulumi("preview", *_PACK).stdout
    assert "kms-rotates for turning: accepted until 2999-12-31: for this test" in said


def test_an_exception_that_has_ended_accepts_nothing(program: Program) -> None:
    _accept(program, _exception("kms-rotates", "turning", "2020-01-31"), *_OPEN)
    said = program.pulumi("preview", *_PACK, code=1).stdout
    assert "kms-rotates (medium): turning" in said


def test_an_exception_of_no_rule_is_refused(program: Program) -> None:
    _accept(program, _exception("kms-turns", "turning"))
    refused = program.pulumi("preview", *_PACK, code=1)
    assert "kms-turns is no rule; the rules are api-firewall" in refused.stdout + refused.stderr
