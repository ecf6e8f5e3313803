"""`berth promote`: what a promotion changes, what its checks found, and carrying it out."""

import difflib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.datasets import copy_own_dataset
from berth.operations.declarations import read_declarations
from berth.operations.missing_images import has_image
from berth.operations.parity import Difference, find_differences
from berth.operations.promotion import checks
from berth.operations.promotion.datasets import DatasetPlan, plan_datasets
from berth.operations.promotion.edit import Edit, require_only_release_changed, write_release
from berth.operations.promotion.images import (
    ImagePlan,
    Side,
    check_images,
    check_scans,
    copy_images,
    plan_images,
)
from berth.operations.promotion.release import Release, read_release
from berth.operations.promotion.signatures import check_signatures
from berth.operations.update import Update
from berth.platforms.preflight import Finding, Status
from berth.spec import HostingSpec, SpecError, load_file
from berth.spec.document import file_name
from berth.spec.model_files import check_models
from pulumi_berth.files import replace_atomically


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """What the backend knows of the stack whose release is promoted.

    Attributes:
        outputs: Outputs with secrets in plaintext. Empty if nothing is deployed.
        history: All updates with secrets in plaintext, oldest first.
        config: The configuration in the stack's file, likewise.
        secrets: Keys of the configuration that contain a secret.
    """

    outputs: Mapping[str, Any]
    history: Sequence[Update]
    config: Mapping[str, Any]
    secrets: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A release and what it takes to write it into another stack's file.

    Attributes:
        root: The project's directory.
        source: The stack that runs the release.
        target: The stack that gets it, before the change.
        release: The release.
        before: Text of the target's file.
        after: The text with the release.
        images: Images of the release in the target.
        datasets: Datasets of the release in the target.
        comparisons: Metrics of the promoted versions and of what runs.
        differences: What else differs between the stacks afterwards.
        findings: What the checks found.
    """

    root: Path
    source: Side
    target: Side
    release: Release
    before: str
    after: str
    images: ImagePlan
    datasets: DatasetPlan
    comparisons: tuple[checks.Comparison, ...]
    differences: tuple[Difference, ...]
    findings: tuple[Finding, ...]

    @property
    def file(self) -> Path:
        """The configuration file of the target."""
        return self.root / file_name(self.target.stack)

    @property
    def has_failed(self) -> bool:
        """Whether a check failed, so that nothing may be changed."""
        return any(finding.status is Status.FAILED for finding in self.findings)

    @property
    def diff(self) -> str:
        """The change of the target's file as a unified diff. Empty if it has the release."""
        name = self.file.name
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"a/{name}",
            f"b/{name}",
        )
        return "".join(lines)


def plan_promotion(
    root: Path,
    source: Side,
    target: Side,
    state: SourceState,
    *,
    models: Sequence[str] = (),
    sends_requests: bool = True,
    accepts_worse: bool = False,
    compares_stacks: bool = True,
) -> Promotion:
    """Return a promotion after its checks. Nothing is changed.

    Args:
        models: Models to promote. Defaults to all models of the source.
        sends_requests: Whether to send each model's example through the source's gateway.
        accepts_worse: Whether a worse metric is accepted.
        compares_stacks: Whether to list what else differs, which evaluates both programs.

    Raises:
        OperationError: If a stack or a model cannot be used.
        SpecError: If a file is not valid, or would not be valid with the release.
    """
    release = read_release(source.stack, source.spec, state.outputs, models)
    images = plan_images(release, source, target)
    datasets = plan_datasets(release, source, target)
    files = list(checks.check_files(root, release))
    before = (root / file_name(target.stack)).read_text()
    edit = Edit(
        release=release,
        source=source.spec,
        target=target.spec,
        pins=images.pins,
        digests=datasets.digests,
    )
    after = write_release(before, edit)
    with tempfile.TemporaryDirectory(prefix="berth-promote-") as directory:
        file = Path(directory) / file_name(target.stack)
        file.write_text(after)
        # A version with other files than its digest is a finding, and no problem of the file.
        has_files = not any(each.status is Status.FAILED for each in files)
        with _describe_problems():
            spec = load_file(file)
            require_only_release_changed(target.spec, spec, release)
            if has_files:
                check_models(spec, root, file)
        differences = _compare(root, source, spec, file) if compares_stacks else ()
    comparisons = tuple(checks.compare_release(root, release, target))
    exists = partial(has_image, plain_http=source.spec.registry.plain_http)
    findings = [
        *checks.check_deployed(source.stack, state.history, state.config, state.secrets),
        *files,
        *checks.check_rollouts(root, release, target.stack),
        *(checks.check_requests(root, release, source) if sends_requests else [_NO_REQUEST]),
        *_describe_images(images),
        *check_images(release, source, exists),
        *check_scans(release, images, source, target),
        *check_signatures(root, release, images, source, target),
        *datasets.findings,
        *checks.check_metrics(comparisons, accepts_worse=accepts_worse),
    ]
    if differences is None:
        findings.append(_OTHER_PLATFORM)
    elif compares_stacks:
        findings.append(checks.describe_parity(source.stack, target.stack, differences))
    return Promotion(
        root=root,
        source=source,
        target=target,
        release=release,
        before=before,
        after=after,
        images=images,
        datasets=datasets,
        comparisons=comparisons,
        differences=tuple(differences or ()),
        findings=tuple(findings),
    )


_NO_REQUEST = Finding(
    check="requests",
    status=Status.NOT_CHECKED,
    detail="No request was sent (--no-request).",
    fix="Promote from a machine that reaches the gateway.",
)
_OTHER_PLATFORM = Finding(
    check="parity",
    status=Status.NOT_CHECKED,
    detail="The stacks are on different platforms, so their resources were not compared.",
)


@contextmanager
def _describe_problems() -> Iterator[None]:
    """Let problems of the specification state that they arise only with the release."""
    try:
        yield
    except SpecError as error:
        problems = [f"With the release, {problem}" for problem in error.problems]
        raise SpecError([*problems, "Nothing was changed."]) from error


def _compare(
    root: Path, source: Side, target: HostingSpec, file: Path
) -> Sequence[Difference] | None:
    """Return what differs between the stacks, or None if they cannot be compared."""
    if source.spec.platform != target.platform:
        return None
    other = str(root / file_name(source.stack))
    return find_differences(
        read_declarations(other), read_declarations(str(file), "--values-from", other)
    )


def _describe_images(plan: ImagePlan) -> list[Finding]:
    if plan.problem is not None:
        detail, fix = plan.problem
        return [Finding(check="images", status=Status.FAILED, detail=detail, fix=fix)]
    return [
        Finding(
            check="images", status=Status.OPTIONAL, detail=f"No image is pinned, because {reason}."
        )
        for reason in plan.built
    ]


def promote(promotion: Promotion, say: Callable[[str], None]) -> None:
    """Copy what the target needs, and then write its file.

    Raises:
        OperationError: If a copy fails, or somebody changed the file in the meantime. The file is
            unchanged then.
    """
    if promotion.has_failed:
        raise OperationError("A check failed. Nothing was changed.")
    source, target = promotion.source, promotion.target
    for name in promotion.datasets.copies:
        entry = promotion.release.datasets[name]
        copy_own_dataset(name, entry, (source.spec, source.stack), (target.spec, target.stack), say)
    copy_images(promotion.images, source, target, say)
    if promotion.file.read_text() != promotion.before:
        raise OperationError(
            f"{promotion.file.name} was changed by somebody else during the promotion. It was not "
            "changed again. Run the same command again."
        )
    if promotion.after != promotion.before:
        replace_atomically(promotion.file, promotion.after, mode=0o644)
