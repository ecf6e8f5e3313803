"""The rules of the security baseline, and exceptions from them."""

import datetime
import json

import pytest

from berth_policy.accounts import read_accounts
from berth_policy.document import build_page
from berth_policy.exceptions import (
    ExceptionsError,
    PolicyException,
    read_exceptions,
    reject_accepted,
    report_exceptions,
)
from berth_policy.rule import UNKNOWN, Resource, Stack, find_violations
from berth_policy.rules import RULES
from berth_policy.standards import CONTROLS, POD_SECURITY_CONTROLS
from tests.repository import REPOSITORY
from tests.unit.policy_account_cases import ACCOUNT_COMPLIANT, ACCOUNT_VIOLATIONS
from tests.unit.policy_cases import VIOLATIONS as BASIC_VIOLATIONS
from tests.unit.policy_cluster_cases import CLUSTER_COMPLIANT, CLUSTER_VIOLATIONS
from tests.unit.policy_container_cases import CONTAINER_COMPLIANT, CONTAINER_VIOLATIONS
from tests.unit.policy_resources import (
    COMPLIANT,
    COMPLIANT_LOG_BUCKET,
    protected_stack,
    resource,
)

BY_ID = {rule.id: rule for rule in RULES}
VIOLATIONS = {
    rule: [
        *BASIC_VIOLATIONS.get(rule, []),
        *CLUSTER_VIOLATIONS.get(rule, []),
        *ACCOUNT_VIOLATIONS.get(rule, []),
        *CONTAINER_VIOLATIONS.get(rule, []),
    ]
    for rule in {
        **BASIC_VIOLATIONS,
        **CLUSTER_VIOLATIONS,
        **ACCOUNT_VIOLATIONS,
        **CONTAINER_VIOLATIONS,
    }
}
ALL_COMPLIANT = [*COMPLIANT, *CLUSTER_COMPLIANT, *ACCOUNT_COMPLIANT, *CONTAINER_COMPLIANT]
# Rules that no resource of their types follows.
_FORBIDDEN = {"iam-no-users", "no-hidden-resources"}


def _violated_rules(resources: list[Resource]) -> list[tuple[str, str]]:
    return [
        (violation.rule.id, violation.resource.name)
        for violation in find_violations(RULES, resources, protected_stack(resources))
    ]


def test_every_rule_has_a_violation_case() -> None:
    assert set(VIOLATIONS) == set(BY_ID)
    assert len(BY_ID) == len(RULES)


def test_compliant_resources_break_no_rule() -> None:
    assert _violated_rules(COMPLIANT) == []


@pytest.mark.parametrize(
    "compliant",
    [*CLUSTER_COMPLIANT, *ACCOUNT_COMPLIANT, *CONTAINER_COMPLIANT],
    ids=lambda x: x.name,
)
def test_harmless_resource_breaks_no_rule(compliant: Resource) -> None:
    assert _violated_rules([compliant]) == []


def test_compliant_resources_cover_all_rules() -> None:
    """A rule checks nothing if no resource has its type."""
    covered = {one.id for one in RULES for known in ALL_COMPLIANT if one.covers(known.type)}
    assert set(BY_ID) - covered == _FORBIDDEN


@pytest.mark.parametrize(
    ("rule", "resources"),
    [
        pytest.param(rule, resources, id=f"{rule}-{number}")
        for rule, cases in VIOLATIONS.items()
        for number, resources in enumerate(cases)
    ],
)
def test_violation_is_reported_for_its_resource(rule: str, resources: list[Resource]) -> None:
    violations = list(find_violations([BY_ID[rule]], resources, protected_stack(resources)))
    assert [one.resource.name for one in violations] == [resources[0].name]
    assert violations[0].message
    assert not violations[0].message.endswith(".")


def test_log_bucket_with_s3_managed_key_is_compliant() -> None:
    violated = _violated_rules(COMPLIANT_LOG_BUCKET)
    assert ("s3-encrypted", COMPLIANT_LOG_BUCKET[0].name) not in violated


@pytest.mark.parametrize("rule", BY_ID)
def test_unknown_values_raise_no_error(rule: str) -> None:
    """The update checks the values again after they are known."""
    for kind in BY_ID[rule].types:
        keys = ("metadata", "spec", "body", "policy", "rules", "subjects", "ingress", "data")
        unknown = resource(kind.replace("*", "x"), "later", dict.fromkeys(keys, UNKNOWN))
        list(find_violations([BY_ID[rule]], [unknown], protected_stack([unknown])))


def test_deletion_protection_is_required_only_with_protect() -> None:
    [unprotected] = VIOLATIONS["deletion-protection"][0]
    rules = [BY_ID["deletion-protection"]]
    assert not list(find_violations(rules, [unprotected], Stack(protect=False)))


TODAY = datetime.date(2026, 11, 30)
_RESOURCES = VIOLATIONS["kms-rotates"][0]


def _config(**changes: str) -> dict[str, str]:
    entry = {"rule": "kms-rotates", "resource": "k", "reason": "r", "expires": "2026-11-30"}
    return {"berth:policy": json.dumps({"exceptions": [{**entry, **changes}]})}


def _rejected(exceptions: list[PolicyException], today: datetime.date = TODAY) -> list[str]:
    violations = find_violations([BY_ID["kms-rotates"]], _RESOURCES, protected_stack(_RESOURCES))
    return [one.rule.id for one in reject_accepted(violations, exceptions, today)]


def test_exception_applies_through_its_last_day() -> None:
    exceptions = read_exceptions(_config(), RULES, TODAY)
    assert _rejected(exceptions) == []
    assert _rejected(exceptions, TODAY + datetime.timedelta(days=1)) == ["kms-rotates"]


@pytest.mark.parametrize("changes", [{"resource": "another"}, {"rule": "sns-encrypted"}])
def test_exception_applies_only_to_its_rule_and_resource(changes: dict[str, str]) -> None:
    assert _rejected(read_exceptions(_config(**changes), RULES, TODAY)) == ["kms-rotates"]


@pytest.mark.parametrize(
    ("changes", "today", "message"),
    [
        ({}, TODAY, "Exception from kms-rotates for k applies until 2026-11-30: r"),
        (
            {},
            TODAY + datetime.timedelta(days=1),
            "expired after 2026-11-30; the rule is active again",
        ),
        ({"resource": "another"}, TODAY, "is not needed: the resource does not break the rule"),
    ],
)
def test_every_exception_is_reported(
    changes: dict[str, str], today: datetime.date, message: str
) -> None:
    violations = find_violations([BY_ID["kms-rotates"]], _RESOURCES, protected_stack(_RESOURCES))
    exceptions = read_exceptions(_config(**changes), RULES, TODAY)
    [(_, report)] = report_exceptions(violations, exceptions, today)
    assert message in report


def test_exception_from_unknown_rule_is_rejected_with_known_rules() -> None:
    with pytest.raises(
        ExceptionsError, match="'kms-rotate' is not a rule; known rules: api-firewall"
    ):
        read_exceptions(_config(rule="kms-rotate"), RULES, TODAY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expires": "2027-12-01"}, "2027-12-01 is more than a year away; use a date until"),
        ({"expires": "2999-12-31"}, "is more than a year away"),
        ({"expires": ""}, "expires: is missing"),
        ({"expires": "tomorrow"}, "is not a calendar date"),
        ({"reason": " "}, "reason: is missing"),
        ({"rule": "no-hidden-resources"}, "has no exceptions"),
    ],
)
def test_exception_without_an_end_within_a_year_is_rejected(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ExceptionsError, match=message):
        read_exceptions(_config(**changes), RULES, TODAY)


@pytest.mark.parametrize("key", ["expires", "reason", "rule", "resource"])
def test_incomplete_exception_is_rejected(key: str) -> None:
    section = json.loads(_config()["berth:policy"])
    del section["exceptions"][0][key]
    with pytest.raises(ExceptionsError, match=rf"exceptions\[0\].{key}: is missing"):
        read_exceptions({"berth:policy": json.dumps(section)}, RULES, TODAY)


def test_exception_may_last_a_year() -> None:
    [exception] = read_exceptions(_config(expires="2027-11-30"), RULES, TODAY)
    assert exception.expires - TODAY == datetime.timedelta(days=365)


def test_every_rule_names_its_controls_and_pod_security_is_covered() -> None:
    assert set(CONTROLS) == set(BY_ID)
    covered = {control for one in CONTROLS.values() for control in one.pod_security}
    assert covered == set(POD_SECURITY_CONTROLS)


def test_accounts_are_read_from_the_configuration() -> None:
    config = {
        "aws:allowedAccountIds": '["111111111111"]',
        "berth:policy": '{"trusted_accounts": ["222222222222"]}',
        "berth:registry": json.dumps(
            {
                "source_account": "333333333333",
                "readers": [{"account": "444444444444"}],
                "replicate_to": [{"region": "eu-west-1", "account": None}],
            }
        ),
    }
    accounts = read_accounts(config)
    assert accounts.own == {"111111111111"}
    assert accounts.trusted == {"222222222222", "333333333333", "444444444444"}


def test_accounts_in_an_invalid_configuration_are_not_trusted() -> None:
    assert read_accounts({"aws:allowedAccountIds": "everyone"}).own == frozenset()
    assert read_accounts({}).trusted == frozenset()


def test_configuration_without_exceptions_has_none() -> None:
    assert read_exceptions({}, RULES, TODAY) == []


def test_page_of_rules_is_up_to_date() -> None:
    """`python -m tools.generate` writes the page."""
    page = REPOSITORY / "docs/reference/security-baseline.md"
    assert page.read_text() == build_page()
