"""`berth models`: every model version of the project, and the stacks that run it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.signature_state import SignatureState, State
from berth_protocol.model_card import (
    CARD_FILE,
    CardError,
    ModelCard,
    digest,
    read_card,
    verify_files,
)
from pulumi_berth.oci.image_store import is_stored

_SHOWN_METRICS = 2
_SHOWN_DIGEST = 19
_NO_DIRECTORY = "is not in this project"


ReadOutputs = Callable[[str], Mapping[str, Any] | None]
"""Returns the outputs that a stack recorded at its last update, or None if it is not deployed.

Raises OperationError if the state cannot be read.
"""
DescribeVersion = Callable[[Path, ModelCard], SignatureState]
"""Returns the signature state of the version in a directory."""
DescribeImage = Callable[[str, str], SignatureState]
"""Returns the signature state of the image that a stack runs, from the stack and a reference."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A version in a stack.

    Attributes:
        stack: Name of the stack.
        traffic: Percentage of the requests that name no version.
        is_shadow: Whether the version receives duplicates of requests.
        is_exposed: Whether clients can call the version by name.
        digest: Digest that the stack runs. Empty for a container of the user's own.
        scanner: Scanner that passed the image, or a note that there was none. None if the stack
            did not build or copy the image.
        image: The image that runs, or None on a platform without images.
        image_signature: Signature state of the image. None if it was not looked up.
    """

    stack: str
    traffic: float
    is_shadow: bool
    is_exposed: bool
    digest: str
    scanner: str | None
    image: str | None
    image_signature: SignatureState | None


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version of a model.

    Attributes:
        model: Name of the model.
        version: Name of the version.
        directory: Directory of the packaged version, relative to the project. None if the project
            does not contain it.
        digest: Digest of the packaged version, or None.
        problem: Why the packaged version cannot be deployed, or None.
        card: The model card, or None if it cannot be read.
        signature: Signature state, or None if the packaged version cannot be deployed.
        deployments: The stacks that run it, by name.
    """

    model: str
    version: str
    directory: str | None
    digest: str | None
    problem: str | None
    card: ModelCard | None
    signature: SignatureState | None
    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """All versions, and the stacks whose state cannot be read with the reason."""

    versions: tuple[ModelVersion, ...]
    unreadable: Mapping[str, str]


def list_models(
    root: Path,
    stacks: Sequence[str],
    read_outputs: ReadOutputs,
    describe_version: DescribeVersion,
    describe_image: DescribeImage | None = None,
) -> ModelList:
    """Return the packaged versions under `models/`, and those that a stack runs.

    Args:
        root: The project's directory.
        stacks: Names of the stacks.
        describe_image: Looks up the signature of an image in its registry. None to skip images.
    """
    deployments: dict[tuple[str, str], list[Deployment]] = {}
    unreadable: dict[str, str] = {}
    for stack in stacks:
        try:
            outputs = read_outputs(stack)
        except OperationError as error:
            unreadable[stack] = str(error)
            continue
        for model, version, deployment in _list_deployments(stack, outputs, describe_image):
            deployments.setdefault((model, version), []).append(deployment)
    directories = {
        (path.parent.parent.name, path.parent.name): path.parent
        for path in sorted((root / "models").glob(f"*/*/{CARD_FILE}"))
    }
    return ModelList(
        versions=tuple(
            _describe(
                root,
                model,
                version,
                directories.get((model, version)),
                deployments,
                describe_version,
            )
            for model, version in sorted({*directories, *deployments}, key=_sort_key)
        ),
        unreadable=unreadable,
    )


def _sort_key(name: tuple[str, str]) -> tuple[str, list[tuple[bool, int, str]]]:
    """Sort version 10 after version 9."""
    model, version = name
    parts = version.replace("-", ".").split(".")
    return model, [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts
    ]


def _list_deployments(
    stack: str, outputs: Mapping[str, Any] | None, describe_image: DescribeImage | None
) -> Iterator[tuple[str, str, Deployment]]:
    if outputs is None:
        return
    reports = outputs.get("images", {})
    for model, entry in outputs["models"].items():
        for version, berth in entry["versions"].items():
            image = berth.get("image")
            is_pushed = bool(image) and "@sha256:" in image and not is_stored(image)
            yield (
                model,
                version,
                Deployment(
                    stack=stack,
                    traffic=berth["traffic"],
                    is_shadow=entry["shadow"] == version,
                    is_exposed=berth["exposed"],
                    digest=berth["digest"] or "",
                    scanner=reports.get(f"{model}-{version}", {}).get("scanner"),
                    image=image,
                    image_signature=describe_image(stack, image)
                    if describe_image is not None and is_pushed
                    else None,
                ),
            )


def _describe(
    root: Path,
    model: str,
    version: str,
    directory: Path | None,
    deployments: Mapping[tuple[str, str], Sequence[Deployment]],
    describe_version: DescribeVersion,
) -> ModelVersion:
    card: ModelCard | None = None
    signature: SignatureState | None = None
    problem: str | None = _NO_DIRECTORY
    if directory is not None:
        problem = None
        try:
            card = read_card(directory)
            verify_files(directory, card)
            signature = describe_version(directory, card)
        except CardError as error:
            problem = str(error)
    return ModelVersion(
        model=model,
        version=version,
        directory=None if directory is None else directory.relative_to(root).as_posix(),
        digest=None if directory is None else digest(directory),
        problem=problem,
        card=card,
        signature=signature,
        deployments=tuple(deployments.get((model, version), ())),
    )


def as_json(models: ModelList) -> dict[str, Any]:
    """Return the list as a JSON document."""
    return {
        "models": [_version_as_json(version) for version in models.versions],
        "unreadable_stacks": dict(models.unreadable),
    }


def _version_as_json(version: ModelVersion) -> dict[str, Any]:
    card = version.card
    return {
        "model": version.model,
        "version": version.version,
        "directory": version.directory,
        "digest": version.digest,
        "problem": version.problem,
        "description": card.description if card else None,
        "framework": card.source.framework if card else None,
        "dataset": card.source.dataset if card else None,
        "metrics": dict(card.metrics) if card else {},
        "signature": asdict(version.signature) if version.signature else None,
        "stacks": [
            {**asdict(one), "is_packaged_digest": one.digest == version.digest}
            for one in version.deployments
        ],
    }


def format_text(models: ModelList) -> str:
    """Return the list as a table, and notes about what needs attention."""
    titles = ("MODEL", "VERSION", "DIGEST", "SIGNATURE", "METRICS", "RUNS IN")
    rows = [titles, *(_format_row(version) for version in models.versions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    notes = [*_list_notes(models)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _format_row(version: ModelVersion) -> tuple[str, str, str, str, str, str]:
    metrics = version.card.metrics if version.card else {}
    shown = [f"{name} {value:g}" for name, value in list(metrics.items())[:_SHOWN_METRICS]]
    return (
        version.model,
        version.version,
        (version.digest or "-")[:_SHOWN_DIGEST],
        str(version.signature.state) if version.signature else "-",
        ", ".join(shown) or "-",
        ", ".join(map(_format_deployment, version.deployments)) or "-",
    )


def _format_deployment(deployment: Deployment) -> str:
    share = "shadow" if deployment.is_shadow else f"{deployment.traffic:g} %"
    return f"{deployment.stack} {share}"


def _list_notes(models: ModelList) -> Iterator[str]:
    for version in models.versions:
        name = f"{version.model} {version.version}"
        if version.problem is not None and version.directory is not None:
            yield f"{name} cannot be deployed: {version.problem}"
        if version.signature is not None and version.signature.state is State.INVALID:
            yield f"{name} has an invalid signature: {version.signature.problem}"
        for one in version.deployments:
            if one.image_signature is not None:
                problem = one.image_signature.problem
                reason = "" if problem is None else f" ({problem})"
                yield f"image of {name} in stack {one.stack}: {one.image_signature.state}{reason}"
            if one.digest and version.digest and one.digest != version.digest:
                running = one.digest[:_SHOWN_DIGEST]
                yield f"{name} in stack {one.stack} is {running}, not the packaged one"
    for stack, reason in models.unreadable.items():
        yield f"stack {stack} cannot be read: {reason}"
