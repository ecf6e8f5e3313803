"""The policy pack that the engine runs.

Three policies run all rules. One policy per rule would be slower, because Pulumi's library decodes
every resource again for each policy (docs/reference/security-baseline.md has the measurements).
"""

import datetime
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from berth_policy.accounts import read_accounts
from berth_policy.conversion import convert_resource, convert_stack, is_excluded
from berth_policy.exceptions import (
    ExceptionsError,
    read_exceptions,
    reject_accepted,
    report_exceptions,
)
from berth_policy.rule import Resource, Stack, Violation, find_violations, matches_type
from berth_policy.rules import RULES

_PAGE = "docs/reference/security-baseline.md"
# The engine passes the stack's configuration to the pack.
_CONFIG: Mapping[str, str] = json.loads(os.environ.get("PULUMI_CONFIG") or "{}")
_PROTECT = _CONFIG.get("berth:protect") == "true"
_TODAY = datetime.datetime.now(datetime.UTC).date()
_MANDATORY = [rule for rule in RULES if rule.level == "mandatory"]
_RESOURCE_RULES = [rule for rule in _MANDATORY if not rule.needs_stack]
_STACK_RULES = [rule for rule in _MANDATORY if rule.needs_stack]
_RESOURCE_TYPES = tuple({kind for rule in _RESOURCE_RULES for kind in rule.types})
_ACCOUNTS = read_accounts(_CONFIG)
try:
    _EXCEPTIONS = read_exceptions(_CONFIG, RULES, _TODAY)
except ExceptionsError as error:
    sys.exit(str(error))


def _check_resource(args: ResourceValidationArgs, report: ReportViolation) -> None:
    kind = args.resource_type
    if matches_type(_RESOURCE_TYPES, kind) and not is_excluded(kind, args.props):
        resource = convert_resource(args)
        _report(find_violations(_RESOURCE_RULES, [resource], _build_stack([])), report)


def _check_stack(args: StackValidationArgs, report: ReportViolation) -> None:
    stack = _convert(args)
    _report(find_violations(_STACK_RULES, stack.resources, stack), report)


def _advise(args: StackValidationArgs, report: ReportViolation) -> None:
    stack = _convert(args)
    violations = list(find_violations(RULES, stack.resources, stack))
    _report((one for one in violations if one.rule.level == "advisory"), report)
    for urn, message in report_exceptions(violations, _EXCEPTIONS, _TODAY):
        report(message, urn or None)


def _convert(args: StackValidationArgs) -> Stack:
    return _build_stack(convert_stack(args.resources))


def _build_stack(resources: Sequence[Resource]) -> Stack:
    return Stack(
        resources=resources,
        protect=_PROTECT,
        own_accounts=_ACCOUNTS.own,
        trusted_accounts=_ACCOUNTS.trusted,
    )


def _report(violations: Iterable[Violation], report: ReportViolation) -> None:
    for one in reject_accepted(violations, _EXCEPTIONS, _TODAY):
        report(
            f"{one.rule.id} ({one.rule.severity}): {one.resource.name}: {one.message}. "
            f"{one.rule.remedy}",
            one.resource.urn,
        )


PolicyPack(
    "berth",
    [
        ResourceValidationPolicy(
            "baseline",
            f"A rule of the security baseline for one resource: {_PAGE}.",
            _check_resource,
            EnforcementLevel.MANDATORY,
        ),
        StackValidationPolicy(
            "baseline-stack",
            f"A rule of the security baseline for several resources: {_PAGE}.",
            _check_stack,
            EnforcementLevel.MANDATORY,
        ),
        StackValidationPolicy(
            "advice",
            "Recommendations, and accepted exceptions.",
            _advise,
            EnforcementLevel.ADVISORY,
        ),
    ],
)
