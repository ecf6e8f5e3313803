"""A promotion as text, as JSON, and as a pull request."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from berth.operations.promotion.checks import Comparison
from berth.operations.promotion.images import describe_image
from berth.operations.promotion.plan import Promotion
from berth.operations.report_markdown import MAX_CHARACTERS
from berth.platforms.preflight import Finding, Status

_BRANCH_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """A branch, a title and a body, for `git` and the tools of a forge.

    Attributes:
        branch: Name that depends only on the stacks and on the new content of the file.
        title: One line, also for the commit.
        body: Markdown of at most `report_markdown.MAX_CHARACTERS` characters.
    """

    branch: str
    title: str
    body: str


def as_json(promotion: Promotion, *, was_written: bool) -> dict[str, Any]:
    """Return the promotion as a JSON document."""
    return {
        "source": promotion.source.stack,
        "target": promotion.target.stack,
        "file": promotion.file.name,
        "passed": not promotion.has_failed,
        "changed": promotion.after != promotion.before,
        "written": was_written,
        "models": {
            model: {
                "versions": {
                    version: {
                        "digest": entry.digest,
                        "image": promotion.images.pins.get((model, version)),
                    }
                    for version, entry in each.versions.items()
                },
                "traffic": dict(each.traffic),
            }
            for model, each in promotion.release.models.items()
        },
        "datasets": {
            name: {"version": entry.version, "digest": promotion.datasets.digests.get(name)}
            for name, entry in promotion.release.datasets.items()
        },
        "copies": [
            {"source": each.source, "repository": each.repository}
            for each in promotion.images.copies
        ],
        "checks": [asdict(finding) for finding in promotion.findings],
        "metrics": [asdict(each) for each in promotion.comparisons],
        "differences": [asdict(each) for each in promotion.differences],
        "diff": promotion.diff,
    }


def format_text(promotion: Promotion) -> str:
    """Return what the promotion changes and what its checks found as text."""
    lines = [_format_finding(finding) for finding in promotion.findings]
    lines += [
        f"copy         {each.source} to {each.repository}" for each in promotion.images.copies
    ]
    lines += [
        f"copy         dataset {name} to the own bucket of stack '{promotion.target.stack}'"
        for name in promotion.datasets.copies
    ]
    diff = promotion.diff or f"{promotion.file.name} already has this release.\n"
    return "\n".join([*lines, "", diff.rstrip("\n")])


def _format_finding(finding: Finding) -> str:
    fix = f" {finding.fix}" if finding.fix else ""
    return f"{finding.status:<12} {finding.check}: {finding.detail}{fix}"


def build_pull_request(promotion: Promotion) -> PullRequest:
    """Return the pull request that proposes the promotion."""
    source, target = promotion.source.stack, promotion.target.stack
    identity = hashlib.sha256(promotion.after.encode()).hexdigest()[:_BRANCH_DIGITS]
    names = ", ".join(
        f"{model} {'/'.join(each.traffic)}" for model, each in promotion.release.models.items()
    )
    title = f"Promote {names} from {source} to {target}"
    if len(title) > 72:
        title = f"Promote {len(promotion.release.models)} models from {source} to {target}"
    sections = [
        _format_summary(promotion),
        _format_versions(promotion),
        _format_checks(promotion.findings),
        _format_metrics(promotion.comparisons),
        _format_diff(promotion.diff),
    ]
    body = "\n\n".join(section for section in sections if section) + "\n"
    return PullRequest(
        branch=f"promote-{source}-to-{target}-{identity}",
        title=title,
        body=_bound(body),
    )


def format_pull_request(request: PullRequest) -> str:
    """Return the pull request as text: the branch, the title, an empty line and the body."""
    return f"{request.branch}\n{request.title}\n\n{request.body}".rstrip("\n")


def _format_summary(promotion: Promotion) -> str:
    statuses = [finding.status for finding in promotion.findings]
    open_points = [status for status in statuses if status in (Status.WARNING, Status.NOT_CHECKED)]
    result = "**A check failed.** Do not merge." if promotion.has_failed else "No check failed"
    if not promotion.has_failed:
        result += f"; read the {len(open_points)} open points below." if open_points else "."
    target = promotion.target.stack
    return (
        f"Stack `{promotion.source.stack}` runs this release. {result} After the merge, "
        f"`berth up -s {target}` deploys it, and `berth rollback -s {target}` returns to the "
        "release before it."
    )


def _format_versions(promotion: Promotion) -> str:
    rows = [
        f"| {model} {version} | {each.traffic.get(version, 0)} % "
        f"| {_code(entry.digest)} | {_describe_image(promotion, model, version)} |"
        for model, each in promotion.release.models.items()
        for version, entry in each.versions.items()
    ]
    datasets = [
        f"| {name} {entry.version} | {_code(promotion.datasets.digests.get(name))} |"
        for name, entry in promotion.release.datasets.items()
    ]
    lines = [
        "### Versions",
        "",
        "| version | traffic | digest | image |",
        "|---|---|---|---|",
        *rows,
    ]
    if datasets:
        lines += ["", "| dataset | digest |", "|---|---|", *datasets]
    return "\n".join(lines)


def _describe_image(promotion: Promotion, model: str, version: str) -> str:
    pin = promotion.images.pins.get((model, version))
    entry = promotion.release.models[model].versions[version]
    if pin is None and entry.spec.container is not None and entry.spec.container.image is not None:
        pin = describe_image(entry)
    return _code(pin) if pin else "built from this digest"


def _format_checks(findings: Sequence[Finding]) -> str:
    rows = [
        f"| {finding.check} | {finding.status} | {_cell(f'{finding.detail} {finding.fix}')} |"
        for finding in findings
    ]
    return "\n".join(["### Checks", "", "| check | result | detail |", "|---|---|---|", *rows])


def _format_metrics(comparisons: Sequence[Comparison]) -> str:
    rows = list(_list_metrics(comparisons))
    if not rows:
        return ""
    head = [
        "| model | metric | runs now | promoted | better is | result |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(["### Metrics before and after", "", *head, *rows])


def _list_metrics(comparisons: Sequence[Comparison]) -> Iterator[str]:
    for each in comparisons:
        for change in each.changes:
            yield (
                f"| {each.model} | {_cell(change.name)} "
                f"| {_format_value(change.before)} (version {each.before}) "
                f"| {_format_value(change.after)} (version {each.after}) "
                f"| {change.direction} | {change.outcome} |"
            )


def _format_diff(diff: str) -> str:
    if not diff:
        return ""
    # A fence must be longer than any in the file.
    fence = "`" * 3
    while fence in diff:
        fence += "`"
    return f"### Change\n\n{fence}diff\n{diff.rstrip()}\n{fence}"


def _bound(body: str) -> str:
    """Return the body, or its beginning if a forge would reject it."""
    if len(body) <= MAX_CHARACTERS:
        return body
    note = "\n\nThe rest is left out; see `berth promote --json`.\n"
    return body[: MAX_CHARACTERS - len(note)].rsplit("\n", 1)[0] + note


def _format_value(value: float | None) -> str:
    return "none" if value is None else f"{value}"


def _code(text: str | None) -> str:
    return "none" if text is None else f"`{text}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
