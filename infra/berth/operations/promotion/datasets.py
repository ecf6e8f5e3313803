"""Versions of datasets in a release: their digests, and whether the other stack can read them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from berth.errors import OperationError
from berth.operations.datasets import OWN_BUCKET, read_dataset_digest
from berth.operations.promotion.images import Side
from berth.operations.promotion.release import Release
from berth.platforms.preflight import Finding, Status
from berth.spec import DatasetSpec

_CHECK = "datasets"


@dataclass(kw_only=True)
class DatasetPlan:
    """What a promotion does with datasets.

    Attributes:
        digests: Dataset name -> digest that pins its version.
        copies: Datasets to copy from the own bucket of one stack to that of the other.
        findings: What the checks found.
    """

    digests: dict[str, str] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def plan_datasets(release: Release, source: Side, target: Side) -> DatasetPlan:
    """Return which versions of datasets the other stack reads, after checking that they exist."""
    plan = DatasetPlan()
    for name, entry in release.datasets.items():
        failures = list(_find_source_problems(name, entry, source, plan))
        if not failures:
            failures = list(_find_target_problems(name, entry, source, target, plan))
        plan.findings += failures
        if not any(each.status is Status.FAILED for each in failures):
            plan.findings.append(
                Finding(
                    check=_CHECK,
                    status=Status.PASSED,
                    detail=f"{name} {entry.version} is {plan.digests.get(name, 'not pinned')}.",
                )
            )
    return plan


def _find_source_problems(
    name: str, entry: DatasetSpec, source: Side, plan: DatasetPlan
) -> Iterator[Finding]:
    where = entry.source or OWN_BUCKET
    if entry.digest is not None:
        plan.digests[name] = entry.digest
    try:
        digest = read_dataset_digest(name, entry.version, entry.source, source.spec, source.stack)
    except OperationError as error:
        yield _not_checked(name, error)
        return
    if digest is None:
        yield Finding(
            check=_CHECK,
            status=Status.FAILED,
            detail=f"{where} has no version {entry.version} of {name}.",
            fix=f"Push it with 'berth data push', and run 'berth up -s {source.stack}'.",
        )
    elif entry.digest not in (None, digest):
        yield Finding(
            check=_CHECK,
            status=Status.FAILED,
            detail=f"{name} {entry.version} in {where} is {digest}, and not the pinned "
            f"{entry.digest}.",
            fix="Restore the pinned data.",
        )
    else:
        plan.digests[name] = digest


def _find_target_problems(
    name: str, entry: DatasetSpec, source: Side, target: Side, plan: DatasetPlan
) -> Iterator[Finding]:
    there = target.spec.data.datasets.get(name)
    place = entry.source if there is None else there.source
    if place == entry.source:
        if place is None:
            plan.copies.append(name)
        return
    where = place or f"the own bucket of stack '{target.stack}'"
    try:
        digest = read_dataset_digest(name, entry.version, place, target.spec, target.stack)
    except OperationError as error:
        yield _not_checked(name, error)
        return
    if digest != plan.digests[name]:
        yield Finding(
            check=_CHECK,
            status=Status.FAILED,
            detail=f"{where} has no version {entry.version} of {name} with the digest "
            f"{plan.digests[name]} that stack '{source.stack}' reads.",
            fix=f"Run 'berth data push DIRECTORY {place or 's3://BUCKET/' + name} "
            f"--version {entry.version}'.",
        )


def _not_checked(name: str, error: OperationError) -> Finding:
    return Finding(
        check=_CHECK,
        status=Status.NOT_CHECKED,
        detail=f"{name} was not compared: {error}",
        fix="Set its digest to pin the version.",
    )
