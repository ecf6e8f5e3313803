"""`berth preflight`: what would stop an update, before the update starts.

`list_requirements` is the only list of what an update requires before the engine starts: `require`
checks it in `berth up`, and `find_problems` in `berth preflight`.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.state_file import read_owner_ids
from berth.platforms import get_platform
from berth.platforms.preflight import Finding, Requirement, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from berth.spec.signatures import requires_signatures

_WIDTH = max(len(status) for status in Status) + 1

POLICY_PACK = Path(str(files("berth_policy")))
"""The directory of the security baseline."""


def list_requirements(
    context: StackContext, source: Path, say: Callable[[str], None]
) -> list[Requirement]:
    """Return what a stack must meet before the engine starts, in the order of the checks.

    Args:
        source: The configuration file of the specification, for messages about model files.
        say: Reports progress, if the engine must be installed first.
    """

    def check_models(context: StackContext) -> Finding:
        # Only needed here, and slow to import.
        from berth.spec.model_files import check_models

        check_models(context.spec, context.root, source)
        detail = "The files of all model versions match their checksums."
        return Finding(check="models", status=Status.PASSED, detail=detail)

    def check_tools(context: StackContext) -> Finding:
        return _check_tools(context, say)

    return [
        Requirement(name="models", check=check_models),
        Requirement(name="image-signatures", check=_check_image_signatures),
        *get_platform(context.spec.platform).list_requirements(),
        Requirement(name="ownership", check=_check_ownership),
        Requirement(name="tools", check=check_tools),
    ]


def require(context: StackContext, requirements: Sequence[Requirement]) -> None:
    """Check every requirement.

    Raises:
        SpecError: If one is not met. The later ones are then not checked.
        OperationError: If a tool is missing.
    """
    for requirement in requirements:
        requirement.check(context)


def find_problems(context: StackContext, requirements: Sequence[Requirement]) -> list[Finding]:
    """Return what the check of each requirement found, and then what the platform's checks found.

    If nothing else can be checked without a requirement that is not met, its finding is the last.
    """
    findings: list[Finding] = []
    for requirement in requirements:
        try:
            findings.append(requirement.check(context))
        except (SpecError, OperationError) as error:
            problems = error.problems if isinstance(error, SpecError) else [str(error)]
            findings += [
                Finding(check=requirement.name, status=Status.FAILED, detail=problem)
                for problem in problems
            ]
            if requirement.stops_checks:
                return findings
    preflight = get_platform(context.spec.platform).preflight
    return findings if preflight is None else findings + preflight(context)


def check_ownership(context: StackContext, *, for_removal: bool = False) -> bool:
    """Check that the stack neither uses nor deletes what belongs to someone else.

    Returns:
        Whether it was checked. If only the engine can read the stack's state, the preview of the
        update checks it instead.

    Raises:
        SpecError: If the stack would use or delete what belongs to someone else.
    """
    owner_ids = read_owner_ids(context.root, context.stack)
    if owner_ids is None:
        return False
    platform = get_platform(context.spec.platform)
    platform.check_ownership(context, owner_ids, for_removal=for_removal)
    return True


def _check_image_signatures(context: StackContext) -> Finding:
    check = "image-signatures"
    if not requires_signatures(context.spec):
        detail = "require_signature is not set."
        return Finding(check=check, status=Status.OPTIONAL, detail=detail)
    # Slow to import, and most stacks do not need it.
    from berth.operations.image_signatures import require_signed_images

    count = require_signed_images(context)
    detail = f"Images from a registry that a trusted key signed: {count}."
    return Finding(check=check, status=Status.PASSED, detail=detail)


def _check_ownership(context: StackContext) -> Finding:
    check = "ownership"
    if check_ownership(context):
        detail = "Nothing that the stack uses belongs to someone else."
        return Finding(check=check, status=Status.PASSED, detail=detail)
    detail = "Only the engine can read the stack's state. The preview checks it."
    return Finding(check=check, status=Status.NOT_CHECKED, detail=detail)


def _check_tools(context: StackContext, say: Callable[[str], None]) -> Finding:
    check, spec = "tools", context.spec
    if not (spec.images.scan.require_scanner or spec.policy.require_policy):
        detail = "images.scan.require_scanner and policy.require_policy are false."
        return Finding(check=check, status=Status.OPTIONAL, detail=detail)
    from berth.engine import ensure_engine
    from berth.operations.required_tools import check_required_tools

    environment = ensure_engine(say).environment(context.root)
    builds_images = "images" in get_platform(spec.platform).sections
    check_required_tools(spec, environment, POLICY_PACK, builds_images=builds_images)
    detail = "The scanner and the policy pack that the specification requires are installed."
    return Finding(check=check, status=Status.PASSED, detail=detail)


def has_failed(findings: Sequence[Finding]) -> bool:
    """Return whether an update would fail."""
    return any(finding.status is Status.FAILED for finding in findings)


def select_notable(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that `up` reports: failures, warnings and optional settings."""
    notable = (Status.FAILED, Status.WARNING, Status.OPTIONAL)
    return [finding for finding in findings if finding.status in notable]


def as_json(stack: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as a JSON document."""
    return {
        "stack": stack,
        "passed": not has_failed(findings),
        "checks": [
            {
                "check": finding.check,
                "status": finding.status.value,
                "detail": finding.detail,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }


def format_lines(findings: Sequence[Finding]) -> str:
    """Return one line for each finding, failures last, so that they are next to the prompt."""
    order = [Status.PASSED, Status.OPTIONAL, Status.NOT_CHECKED, Status.WARNING, Status.FAILED]
    lines = []
    for finding in sorted(findings, key=lambda finding: order.index(finding.status)):
        fix = f" {finding.fix}" if finding.fix else ""
        lines.append(f"{finding.status.value:{_WIDTH}}{finding.check}: {finding.detail}{fix}")
    return "\n".join(lines)


def format_text(stack: str, findings: Sequence[Finding]) -> str:
    """Return the findings and the result as text."""
    count = sum(finding.status is Status.FAILED for finding in findings)
    unknown = sum(finding.status is Status.NOT_CHECKED for finding in findings)
    result = (
        f"{count} of {len(findings)} checks failed. Nothing was changed."
        if count
        else f"'berth up -s {stack}' can start."
    )
    missing = f" {unknown} could not be checked." if unknown else ""
    return f"{format_lines(findings)}\n\n{result}{missing}"
