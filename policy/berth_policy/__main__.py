"""The policy pack that the engine runs: `pulumi preview --policy-pack policy`.

Three policies ask all rules, and not one each: the library decodes every resource anew for each
policy (docs/reference/security-baseline.md has the figures).
"""

import datetime
import json
import os
import sys
from collections.abc import Iterable, Mapping

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from berth_policy.exceptions import ExceptionsError, accepted, in_force, told
from berth_policy.plain import is_left_out, plain_resource, plain_resources
from berth_policy.rule import Stack, Violation, violations
from berth_policy.rules import RULES

# The engine gives a pack the stack's configuration, whoever started it.
CONFIG: Mapping[str, str] = json.loads(os.environ.get("PULUMI_CONFIG") or "{}")
PROTECT = CONFIG.get("berth:protect") == "true"
TODAY = datetime.datetime.now(datetime.UTC).date()
ALONE = [rule for rule in RULES if rule.level == "mandatory" and not rule.whole]
TOGETHER = [rule for rule in RULES if rule.level == "mandatory" and rule.whole]
TYPES = {kind for rule in ALONE for kind in rule.types}
try:
    EXCEPTIONS = accepted(CONFIG, RULES)
except ExceptionsError as error:
    sys.exit(str(error))


def _alone(args: ResourceValidationArgs, report: ReportViolation) -> None:
    if args.resource_type in TYPES and not is_left_out(args.resource_type, args.props):
        found = violations(ALONE, [plain_resource(args)], Stack(protect=PROTECT))
        _report(found, report)


def _together(args: StackValidationArgs, report: ReportViolation) -> None:
    stack = _stack(args)
    _report(violations(TOGETHER, stack.resources, stack), report)


def _advice(args: StackValidationArgs, report: ReportViolation) -> None:
    stack = _stack(args)
    found = list(violations(RULES, stack.resources, stack))
    _report((one for one in found if one.rule.level == "advisory"), report)
    for urn, sentence in told(found, EXCEPTIONS, TODAY):
        report(sentence, urn or None)


def _stack(args: StackValidationArgs) -> Stack:
    return Stack(resources=plain_resources(args.resources), protect=PROTECT)


def _report(found: Iterable[Violation], report: ReportViolation) -> None:
    for one in in_force(found, EXCEPTIONS, TODAY):
        report(
            f"{one.rule.id} ({one.rule.severity}): {one.resource.name}: {one.found}. "
            f"{one.rule.remedy}",
            one.resource.urn,
        )


PolicyPack(
    "berth",
    [
        ResourceValidationPolicy(
            "baseline",
            "A security rule about one resource: docs/reference/security-baseline.md.",
            _alone,
            EnforcementLevel.MANDATORY,
        ),
        StackValidationPolicy(
            "baseline-together",
            "A security rule about several resources: docs/reference/security-baseline.md.",
            _together,
            EnforcementLevel.MANDATORY,
        ),
        StackValidationPolicy(
            "advice",
            "What could be better, and what is accepted for now.",
            _advice,
            EnforcementLevel.ADVISORY,
        ),
    ],
)
