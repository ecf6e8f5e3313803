"""The policy pack that the engine runs: `pulumi preview --policy-pack policy`."""

import datetime
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policy.exceptions import ExceptionsError, accepted, in_force, told
from policy.plain import plain_resource, plain_resources
from policy.rule import Rule, Stack, Violation, violations
from policy.rules import RULES

# The engine gives a pack the stack's configuration, whoever started it.
CONFIG: Mapping[str, str] = json.loads(os.environ.get("PULUMI_CONFIG") or "{}")
PROTECT = CONFIG.get("berth:protect") == "true"
TODAY = datetime.datetime.now(datetime.UTC).date()
try:
    EXCEPTIONS = accepted(CONFIG, RULES)
except ExceptionsError as error:
    sys.exit(str(error))


def _policy(rule: Rule) -> Policy:
    """The rule as the engine asks it: of a resource before it is made, or of all in the end."""

    def of_one(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in rule.types:
            stack = Stack(protect=PROTECT)
            _report(violations([rule], [plain_resource(args)], stack), report)

    def of_all(args: StackValidationArgs, report: ReportViolation) -> None:
        stack = _stack(args)
        _report(violations([rule], stack.resources, stack), report)

    level, severity = EnforcementLevel(rule.level), Severity(rule.severity)
    if rule.whole:
        return StackValidationPolicy(
            rule.id, rule.says, of_all, level, severity=severity, remediation_steps=rule.remedy
        )
    return ResourceValidationPolicy(
        rule.id, rule.says, of_one, level, severity=severity, remediation_steps=rule.remedy
    )


def _stack(args: StackValidationArgs) -> Stack:
    return Stack(resources=plain_resources(args.resources), protect=PROTECT)


def _report(found: Iterable[Violation], report: ReportViolation) -> None:
    for one in in_force(found, EXCEPTIONS, TODAY):
        report(f"{one.resource.name}: {one.found}. {one.rule.remedy}", one.resource.urn)


def _tell_exceptions(args: StackValidationArgs, report: ReportViolation) -> None:
    stack = _stack(args)
    for urn, sentence in told(violations(RULES, stack.resources, stack), EXCEPTIONS, TODAY):
        report(sentence, urn or None)


POLICIES: list[Policy] = [_policy(rule) for rule in RULES]
if EXCEPTIONS:
    POLICIES.append(
        StackValidationPolicy(
            "exceptions",
            "What is accepted for now, by berth:policy.exceptions.",
            _tell_exceptions,
            EnforcementLevel.ADVISORY,
        )
    )

PolicyPack("berth", POLICIES)
