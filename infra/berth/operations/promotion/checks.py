"""The checks of a release before another stack gets it, as findings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.history import compare_configurations
from berth.operations.parity import Difference
from berth.operations.promotion.images import Side
from berth.operations.promotion.metrics import MetricChange, Outcome, compare_metrics
from berth.operations.promotion.release import Release, read_digest, read_released_card
from berth.operations.rollout.journal import journal_path, read_journal
from berth.operations.serving_check import request_versions
from berth.operations.update import Update
from berth.platforms.preflight import Finding, Status
from pulumi_berth.values import join_first

_SHOWN = 3
_OK = 200


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The metrics of a promoted version and of the version of the other stack that it follows.

    Attributes:
        model: Model name.
        before: Version of the other stack with most of its traffic. None if there is none.
        after: Promoted version.
        changes: How the metrics of their cards compare.
        note: Why they were not compared, or what limits the comparison. Empty if nothing does.
    """

    model: str
    before: str | None
    after: str
    changes: tuple[MetricChange, ...] = ()
    note: str = ""

    @property
    def worse(self) -> tuple[MetricChange, ...]:
        """The metrics that are worse."""
        return tuple(each for each in self.changes if each.outcome is Outcome.WORSE)


def check_deployed(
    stack: str, history: Sequence[Update], current: Mapping[str, Any], secrets: frozenset[str]
) -> Iterator[Finding]:
    """Check that the latest update succeeded, and that everything configured is deployed.

    Args:
        current: The configuration with secrets in plaintext.
        secrets: Its keys that contain a secret.
    """
    updates = [update for update in history if update.kind in ("update", "destroy")]
    latest = updates[-1] if updates else None
    if latest is None or latest.kind == "destroy" or not latest.succeeded:
        reason = (
            "was never deployed"
            if latest is None
            else "was destroyed"
            if latest.kind == "destroy"
            else f"is not ready: its latest update, {latest.number}, failed"
        )
        yield Finding(
            check="deployed",
            status=Status.FAILED,
            detail=f"Stack '{stack}' {reason}.",
            fix=f"Run 'berth up -s {stack}'.",
        )
        return
    changes = compare_configurations(latest.config, current, secrets | latest.secrets)
    if changes:
        yield Finding(
            check="deployed",
            status=Status.FAILED,
            detail=f"Pulumi.{stack}.yaml has {len(changes)} values that update {latest.number} did "
            f"not deploy: {join_first(changes, _SHOWN, '; ')}.",
            fix=f"Run 'berth up -s {stack}', or restore the file.",
        )
        return
    yield Finding(
        check="deployed",
        status=Status.PASSED,
        detail=f"Stack '{stack}' runs update {latest.number}, and its file has no other values.",
    )


def check_files(root: Path, release: Release) -> Iterator[Finding]:
    """Check that the project has the files of the versions that the stack runs."""
    problems: list[str] = []
    for model, each in release.models.items():
        for version, entry in each.versions.items():
            try:
                actual = read_digest(root, model, version, entry.spec)
            except OperationError as error:
                problems.append(str(error))
                continue
            if entry.digest != actual:
                problems.append(
                    f"{model} {version} in the project is {actual}, and stack '{release.stack}' "
                    f"runs {entry.digest or 'no such version'}."
                )
    for problem in problems:
        yield Finding(
            check="files",
            status=Status.FAILED,
            detail=problem,
            fix=f"Restore the files, or run 'berth up -s {release.stack}' to test these.",
        )
    if not problems:
        yield Finding(
            check="files",
            status=Status.PASSED,
            detail=f"The project has the files that '{release.stack}' runs, by digest.",
        )


def check_rollouts(root: Path, release: Release, target: str) -> Iterator[Finding]:
    """Check that no rollout changes the traffic of a promoted model in one of the stacks."""
    for stack in (release.stack, target):
        for model in release.models:
            try:
                journal = read_journal(journal_path(root, stack, model))
            except OperationError as error:
                yield Finding(check="rollouts", status=Status.FAILED, detail=str(error))
                continue
            if journal is not None and journal.phase.is_in_progress:
                version = journal.plan.version
                yield Finding(
                    check="rollouts",
                    status=Status.FAILED,
                    detail=f"A rollout of {model} to version {version} is in progress in stack "
                    f"'{stack}'.",
                    fix=f"Continue it with 'berth rollout {model} {version} -s {stack} --resume', "
                    "or revert it with '--abort'.",
                )


def check_requests(root: Path, release: Release, source: Side) -> Iterator[Finding]:
    """Check that each promoted version with traffic answers its example through the gateway."""
    models = {name: source.spec.models[name] for name in release.models}
    spec = source.spec.model_copy(update={"models": models})
    try:
        responses = request_versions(root, source.stack, spec, source.outputs)
    except OperationError as error:
        yield Finding(
            check="requests",
            status=Status.FAILED,
            detail=str(error),
            fix="On a machine that cannot reach the gateway, add --no-request.",
        )
        return
    for name, (_, response) in responses.items():
        if response.status != _OK:
            yield Finding(
                check="requests",
                status=Status.FAILED,
                detail=f"{name}: a request with its example got {response.status} {response.body}",
                fix=f"See 'berth logs {name.split()[0]} -s {source.stack}'.",
            )
    answered = [name for name, (_, response) in responses.items() if response.status == _OK]
    if answered:
        yield Finding(
            check="requests",
            status=Status.PASSED,
            detail=f"Answered through the gateway: {', '.join(answered)}.",
        )
    expected = [
        f"{name} {each}" for name, model in release.models.items() for each in model.traffic
    ]
    if silent := [name for name in expected if name not in responses]:
        yield Finding(
            check="requests",
            status=Status.NOT_CHECKED,
            detail=f"No request was sent to {', '.join(silent)}: no client with a key may call "
            "it, or it has no example.",
            fix="Give a client access, or set container.example of the version.",
        )


def compare_release(root: Path, release: Release, target: Side) -> list[Comparison]:
    """Return how the metrics of promoted versions compare with what runs in the other stack.

    Each version with traffic is compared with the version of the same model that has most of the
    traffic in the other stack.
    """
    comparisons: list[Comparison] = []
    for model, each in release.models.items():
        incumbent = _find_incumbent(target, model)
        for version in each.traffic:
            comparisons += _compare_version(root, release, target, model, version, incumbent)
    return comparisons


def _find_incumbent(target: Side, model: str) -> str | None:
    """Return the version that has most of the traffic, as deployed or else as configured."""
    deployed = target.outputs.get("models", {}).get(model, {}).get("versions", {})
    weights = {version: float(entry.get("traffic") or 0) for version, entry in deployed.items()}
    if not weights and model in target.spec.models:
        weights = {v: float(weight) for v, weight in target.spec.models[model].traffic.items()}
    return max(weights, key=lambda version: weights[version]) if any(weights.values()) else None


def _compare_version(
    root: Path, release: Release, target: Side, model: str, version: str, incumbent: str | None
) -> Iterator[Comparison]:
    promoted = release.models[model].versions[version]
    after = read_released_card(root, model, version, promoted.spec, promoted.digest)
    if incumbent is None:
        yield Comparison(model=model, before=None, after=version, note="the model is new")
        return
    if after is None:
        note = f"version {version} has no model card in the project"
        yield Comparison(model=model, before=incumbent, after=version, note=note)
        return
    deployed = target.outputs.get("models", {}).get(model, {}).get("versions", {})
    digest = deployed.get(incumbent, {}).get("digest")
    if incumbent == version and digest in (None, promoted.digest):
        return
    there = target.spec.models.get(model)
    entry = None if there is None else there.versions.get(incumbent)
    before = None if entry is None else read_released_card(root, model, incumbent, entry, digest)
    if before is None:
        note = f"version {incumbent} as it runs in '{target.stack}' is not in the project"
        yield Comparison(model=model, before=incumbent, after=version, note=note)
        return
    changes = compare_metrics(before.metrics, after.metrics)
    note = ""
    if not changes:
        note = "neither model card has metrics"
    elif before.source.dataset != after.source.dataset:
        note = "the cards name different data"
    yield Comparison(model=model, before=incumbent, after=version, changes=changes, note=note)


def check_metrics(comparisons: Sequence[Comparison], *, accepts_worse: bool) -> Iterator[Finding]:
    """Check that no metric is worse, unless the user accepts that."""
    for each in comparisons:
        pair = f"{each.model} {each.after} compared with {each.before}"
        for change in each.worse:
            yield Finding(
                check="metrics",
                status=Status.WARNING if accepts_worse else Status.FAILED,
                detail=f"{pair}: {change.name} is worse, {change.before} -> {change.after} "
                f"({change.direction} is better)" + (", accepted." if accepts_worse else "."),
                fix="" if accepts_worse else "Accept it with --accept-worse.",
            )
        unknown = [
            f"{change.name} {_format(change.before)} -> {_format(change.after)}"
            for change in each.changes
            if change.outcome is Outcome.NOT_JUDGED
        ]
        if unknown:
            yield Finding(
                check="metrics",
                status=Status.NOT_CHECKED,
                detail=f"{pair}: not judged: {', '.join(unknown)}.",
            )
        if each.note:
            yield Finding(
                check="metrics",
                status=Status.NOT_CHECKED if not each.changes else Status.WARNING,
                detail=f"{each.model} {each.after}: {each.note}.",
            )
        judged = [c for c in each.changes if c.outcome in (Outcome.BETTER, Outcome.EQUAL)]
        if judged and not each.worse:
            yield Finding(
                check="metrics",
                status=Status.PASSED,
                detail=f"{pair}: "
                + ", ".join(f"{c.name} {c.before} -> {c.after} ({c.outcome})" for c in judged)
                + ".",
            )


def _format(value: float | None) -> str:
    return "none" if value is None else f"{value}"


def describe_parity(source: str, target: str, differences: Sequence[Difference]) -> Finding:
    """Return what else differs between the stacks, which is a note and no failure."""
    if not differences:
        return Finding(
            check="parity",
            status=Status.PASSED,
            detail=f"'{target}' then declares the same as '{source}', except for the values that "
            "may differ.",
        )
    names = list(dict.fromkeys(f"{each.name} {each.key}".strip() for each in differences))
    return Finding(
        check="parity",
        status=Status.WARNING,
        detail=f"'{target}' then differs from '{source}' in {len(differences)} other places: "
        f"{join_first(names, _SHOWN)}.",
        fix=f"See 'berth parity {source} {target}'.",
    )
