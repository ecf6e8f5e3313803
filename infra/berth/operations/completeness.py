"""Whether everything that an earlier release ran still exists: images, datasets and model files.

What a release ran is in the state after its update. Nothing of Berth deletes it: images stay in
registries and in the store of this machine, and a lifecycle rule of ECR keeps the images of
releases. Others can delete it, and a branch can remove a model's directory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from berth.errors import OperationError
from berth.operations.datasets import read_recorded_dataset
from berth.operations.missing_images import find_hosts, find_references, is_image
from berth.operations.past_states import PastState
from berth.operations.promotion.release import read_digest
from berth.platforms import get_platform
from berth.platforms.platform import ask_registry
from berth.platforms.stack_context import StackContext
from berth.spec import VersionSpec, version_directory
from berth_protocol.model_card import CardError, check_listed, read_card

_PARALLEL = 8
_DATASET_KINDS = ("dataset", "bucket-dataset")
_STACK_TYPE = "pulumi:pulumi:Stack"
_COMPONENTS = "berth:"


@dataclass(frozen=True, kw_only=True)
class DatasetNeed:
    """A version of a dataset that a release read.

    Attributes:
        kind: `dataset` for an artifact in a registry, `bucket-dataset` for one in a bucket.
        name: `registry/name`, or `bucket/prefix/version`.
        digest: Its digest.
    """

    kind: str
    name: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class ReleaseNeeds:
    """What a release ran.

    Attributes:
        images: References by digest.
        built: Those of `images` that the stack has built itself.
        copies: Those of `images` that the stack has copied, and the image that each is a copy of.
        datasets: Versions of datasets.
        models: (model, version) -> digest of the files.
    """

    images: tuple[str, ...] = ()
    built: frozenset[str] = frozenset()
    copies: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[DatasetNeed, ...] = ()
    models: Mapping[tuple[str, str], str]


def read_needs(state: PastState) -> ReleaseNeeds:
    """Return what the release ran whose state after its update is `state`."""
    hosts = find_hosts(state.resources)
    images = [entry["outputs"] for entry in state.resources if is_image(entry)]
    references = {
        reference
        for entry in state.resources
        # A component names images that only others are built on. The stack names those that run.
        if not is_image(entry) and not str(entry["type"]).startswith(_COMPONENTS)
        for reference in find_references(entry, hosts)
    }
    owned = [outputs for outputs in images if not outputs.get("pull_only")]
    layers = [layer for outputs in images for layer in outputs.get("layers") or ()]
    return ReleaseNeeds(
        images=tuple(sorted(references)),
        built=frozenset(
            str(outputs.get("reference")) for outputs in owned if not outputs.get("copy_of")
        ),
        copies={
            str(outputs.get("reference")): str(outputs["copy_of"])
            for outputs in owned
            if outputs.get("copy_of")
        },
        datasets=tuple(
            DatasetNeed(kind=layer["kind"], name=layer["name"], digest=layer["digest"])
            for layer in layers
            if layer.get("kind") in _DATASET_KINDS
        ),
        models={
            (model, version): str(berth["digest"])
            for model, entry in state.outputs.get("models", {}).items()
            for version, berth in entry.get("versions", {}).items()
            if berth.get("digest")
        },
    )


def find_missing(
    needs: ReleaseNeeds, context: StackContext, *, commit: str | None = None
) -> list[str]:
    """Return what no longer exists as the release ran it, one line each.

    Args:
        context: The stack, with the specification of the release.
        commit: The Git commit of the release.
    """
    has_image = get_platform(context.spec.platform).has_image
    checks: list[Callable[[], str | None]] = [
        *(lambda x=x: _check_image(x, needs, context, has_image) for x in needs.images),
        *(lambda x=x: _check_dataset(x, context) for x in needs.datasets),
    ]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(lambda check: check(), checks))
    return [*(line for line in found if line), *_find_changed_models(needs, context, commit)]


def format_completeness(missing: Sequence[str] | None) -> str:
    """Return the result of a check in a few words.

    Args:
        missing: What `find_missing` returned, or None if it could not be checked.
    """
    if missing is None:
        return "complete: not checked"
    return "complete: yes" if not missing else f"complete: no: {'; '.join(missing)}"


def _check_image(
    reference: str,
    needs: ReleaseNeeds,
    context: StackContext,
    has_image: Callable[[StackContext, str], bool | None],
) -> str | None:
    exists = has_image(context, reference)
    if exists is None:
        return f"image {reference} could not be checked: its registry gave no answer"
    if exists:
        return None
    if reference in needs.built:
        fix = "A rollback builds an image of the same files"
    elif (source := needs.copies.get(reference)) is not None:
        fix = (
            f"So is {source}, of which it is a copy. Push that image again with the same digest"
            if ask_registry(context, source) is False
            else f"A rollback copies it again from {source}"
        )
    else:
        fix = "Push it again with the same digest"
    return f"image {reference} is missing. {fix}"


def _check_dataset(need: DatasetNeed, context: StackContext) -> str | None:
    try:
        digest = read_recorded_dataset(need.kind, need.name, need.digest, context.spec)
    except OperationError as error:
        return f"dataset {need.name} could not be checked: {error}"
    if digest is None:
        return (
            f"dataset {need.name} with the digest {need.digest} is missing. Push the same files "
            "again with 'berth data push'"
        )
    if digest != need.digest:
        return f"dataset {need.name} is {digest}, and the release read {need.digest}"
    return None


def _find_changed_models(
    needs: ReleaseNeeds, context: StackContext, commit: str | None
) -> Iterator[str]:
    """Yield each version of which the project does not have the files that the release ran."""
    for (model, version), expected in needs.models.items():
        entry = context.spec.models.get(model)
        spec = None if entry is None else entry.versions.get(version)
        if spec is None or (spec.container is not None and spec.container.image is not None):
            continue
        directory = _find_directory(context, model, version, spec)
        try:
            problem = _compare_files(context.root, directory, (model, version), spec, expected)
        except (OperationError, CardError, OSError) as error:
            problem = str(error).rstrip(".")
        if problem is not None:
            path = _show(context.root, directory)
            fix = f". Restore it with 'git checkout {commit[:12]} -- {path}'" if commit else ""
            yield f"model {model}/{version}: {problem}{fix}"


def _compare_files(
    root: Path, directory: Path, version: tuple[str, str], spec: VersionSpec, expected: str
) -> str | None:
    """Return what differs from the digest of a version, or None."""
    path = _show(root, directory)
    if not directory.is_dir():
        return f"directory {path} is missing"
    if spec.container is None:
        card = read_card(directory)
        check_listed(directory, card)
        absent = [name for name in card.files if not (directory / name).is_file()]
        if absent:
            return f"{path}/{absent[0]} is missing"
    digest = read_digest(root, *version, spec)
    if digest == expected:
        return None
    return f"the files in {path} have the digest {digest}, and the release ran {expected}"


def _find_directory(context: StackContext, model: str, version: str, spec: VersionSpec) -> Path:
    if spec.container is None:
        return version_directory(context.root, model, version, spec.path)
    return (context.root / str(spec.container.context)).resolve()


def _show(root: Path, directory: Path) -> Path:
    return directory.relative_to(root) if directory.is_relative_to(root) else directory
