"""Each rule of the security baseline, broken and kept; and what is accepted of it."""

import datetime
import json

import pytest

from berth_policy.document import page
from berth_policy.exceptions import Accepted, ExceptionsError, accepted, in_force, told
from berth_policy.rule import UNKNOWN, Resource, Stack, violations
from berth_policy.rules import RULES
from tests.repository import REPOSITORY
from tests.unit.policy_cases import BROKEN, KEPT, SOUND, made, stack

BY_ID = {rule.id: rule for rule in RULES}


def _broken(resources: list[Resource]) -> list[tuple[str, str]]:
    return [
        (found.rule.id, found.resource.name)
        for found in violations(RULES, resources, stack(resources))
    ]


def test_every_rule_is_broken_by_a_test() -> None:
    assert set(BROKEN) == set(BY_ID)
    assert len(BY_ID) == len(RULES)


def test_what_keeps_the_baseline_breaks_no_rule() -> None:
    assert _broken(KEPT) == []


def test_each_kept_type_is_one_that_rules_are_about() -> None:
    """What keeps the rules says something only where a rule looks at it."""
    kept = {resource.type for resource in KEPT}
    assert {kind for rule in RULES for kind in rule.types} - kept <= {
        "aws:iam/policy:Policy",
        "aws:iam/groupPolicy:GroupPolicy",
        "aws:iam/userPolicy:UserPolicy",
        "aws:iam/user:User",
        "aws:iam/accessKey:AccessKey",
        "aws:iam/userLoginProfile:UserLoginProfile",
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        "kubernetes:apps/v1:StatefulSet",
        "kubernetes:apps/v1:DaemonSet",
        "kubernetes:batch/v1:Job",
        "kubernetes:batch/v1:CronJob",
    }


@pytest.mark.parametrize(
    ("rule", "resources"),
    [
        pytest.param(rule, resources, id=f"{rule}-{number}")
        for rule, cases in BROKEN.items()
        for number, resources in enumerate(cases)
    ],
)
def test_a_rule_is_broken(rule: str, resources: list[Resource]) -> None:
    found = list(violations([BY_ID[rule]], resources, stack(resources)))
    assert [one.resource.name for one in found] == [resources[0].name]
    assert found[0].found
    assert not found[0].found.endswith(".")


@pytest.mark.parametrize("name", SOUND)
def test_what_is_no_violation(name: str) -> None:
    assert ("s3-encrypted", SOUND[name][0].name) not in _broken(SOUND[name])


@pytest.mark.parametrize("rule", BY_ID)
def test_what_is_not_known_yet_breaks_nothing_and_no_rule(rule: str) -> None:
    """Asked of a resource of which nothing is known: again in the update, when all is."""
    for kind in BY_ID[rule].types:
        resource = made(kind, "later", dict.fromkeys(("metadata", "spec", "body"), UNKNOWN))
        list(violations([BY_ID[rule]], [resource], stack([resource])))


def test_protection_is_asked_for_where_the_configuration_says_so() -> None:
    [unprotected] = BROKEN["protected"][0]
    assert not list(violations([BY_ID["protected"]], [unprotected], Stack(protect=False)))


TODAY = datetime.date(2026, 11, 30)
_BROKEN = BROKEN["kms-rotates"][0]


def _accepted(**changes: str) -> dict[str, str]:
    entry = {"rule": "kms-rotates", "resource": "k", "reason": "r", "expires": "2026-11-30"}
    return {"berth:policy": json.dumps({"exceptions": [{**entry, **changes}]})}


def _in_force(exceptions: list[Accepted], today: datetime.date = TODAY) -> list[str]:
    found = violations([BY_ID["kms-rotates"]], _BROKEN, stack(_BROKEN))
    return [one.rule.id for one in in_force(found, exceptions, today)]


def test_an_exception_holds_through_its_last_day() -> None:
    exceptions = accepted(_accepted(), RULES)
    assert _in_force(exceptions) == []
    assert _in_force(exceptions, TODAY + datetime.timedelta(days=1)) == ["kms-rotates"]


@pytest.mark.parametrize("changes", [{"resource": "another"}, {"rule": "sns-encrypted"}])
def test_an_exception_is_for_one_rule_and_one_resource(changes: dict[str, str]) -> None:
    assert _in_force(accepted(_accepted(**changes), RULES)) == ["kms-rotates"]


@pytest.mark.parametrize(
    ("changes", "today", "sentence"),
    [
        ({}, TODAY, "exception of kms-rotates for k: accepted until 2026-11-30: r"),
        ({}, TODAY + datetime.timedelta(days=1), "ended with 2026-11-30; the rule is in force"),
        ({"resource": "another"}, TODAY, "nothing breaks that rule; take it out"),
    ],
)
def test_exceptions_are_told(changes: dict[str, str], today: datetime.date, sentence: str) -> None:
    found = violations([BY_ID["kms-rotates"]], _BROKEN, stack(_BROKEN))
    [(_, said)] = told(found, accepted(_accepted(**changes), RULES), today)
    assert sentence in said


def test_an_exception_of_no_rule_names_those_there_are() -> None:
    with pytest.raises(ExceptionsError, match="kms-rotate is no rule; the rules are api-firewall"):
        accepted(_accepted(rule="kms-rotate"), RULES)


def test_a_stack_without_exceptions_has_none() -> None:
    assert accepted({}, RULES) == []


def test_the_page_of_rules_is_up_to_date() -> None:
    """`python -m tools.generate` writes it."""
    assert (REPOSITORY / "docs/reference/security-baseline.md").read_text() == page()
