"""Checks the model versions of a specification against the files on disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from berth.spec.document import read_document
from berth.spec.errors import Problem, SpecError, format_path
from berth.spec.hosting import HostingSpec
from berth.spec.models import ContainerSpec, ModelSpec, version_directory
from berth.spec.signatures import read_signers
from berth.spec.validation import format_problems
from berth_protocol.model_card import (
    CardError,
    ModelCard,
    Tensor,
    digest,
    read_card,
    smallest_request_bytes,
    verify_files,
)
from pulumi_berth.own_container_rules import find_context_problem

if TYPE_CHECKING:
    from pulumi_berth.signing.signers import Signer

_UNSIGNED_CONTEXT = (
    "is built from files that no signature covers, and signatures are required; push and sign the "
    "image, and set container.image instead"
)


def check_models(spec: HostingSpec, root: Path, source: Path | None = None) -> None:
    """Check the directory of each version that `spec` deploys, except of own containers.

    Args:
        root: Directory of the project.
        source: Configuration file of `spec`. If given, errors contain its line numbers.

    Raises:
        SpecError: If a directory or model card is missing or invalid, a file differs from its
            card, a digest differs from the pinned one, a required signature is missing or not
            valid, or versions that share traffic have different inputs or outputs.
    """
    signers, problems = read_signers(spec, root)
    problems += [problem for name in spec.models for problem in _check_model(name, spec, root)]
    if signers:
        problems += _check_signatures(spec, root, signers)
    if not problems:
        return
    if source is not None:
        raise SpecError(format_problems(read_document(source), problems))
    raise SpecError([f"{format_path(problem.path)}: {problem.message}" for problem in problems])


def _check_model(model: str, spec: HostingSpec, root: Path) -> Iterator[Problem]:
    entry = spec.models[model]
    cards: dict[str, ModelCard] = {}
    for version, version_spec in entry.versions.items():
        if version_spec.container is not None:
            yield from _check_container(model, version, version_spec.container, root)
            continue
        directory = version_directory(root, model, version, version_spec.path)
        try:
            card = cards[version] = read_card(directory)
            verify_files(directory, card)
        except CardError as error:
            yield Problem(("models", model, "versions", version), str(error), False)
            continue
        yield from _check_version(model, version, spec, card, directory)
    yield from _check_shared_traffic(model, entry, cards)


def _check_signatures(
    spec: HostingSpec, root: Path, signers: "Sequence[Signer]"
) -> Iterator[Problem]:
    """Check the signature of each version whose card can be read. The files were compared."""
    # Only needed by stacks that require signatures, and slow to import.
    from pulumi_berth.signing.bundle import check_signature
    from pulumi_berth.signing.errors import SignatureError

    for model, entry in spec.models.items():
        for version, version_spec in entry.versions.items():
            path = ("models", model, "versions", version)
            if version_spec.container is not None:
                if version_spec.container.context is not None:
                    yield Problem((*path, "container", "context"), _UNSIGNED_CONTEXT, False)
                continue
            directory = version_directory(root, model, version, version_spec.path)
            try:
                check_signature(directory, read_card(directory), signers)
            except SignatureError as error:
                yield Problem(path, str(error), False)
            except CardError:
                continue


def _check_container(
    model: str, version: str, container: ContainerSpec, root: Path
) -> Iterator[Problem]:
    """Check the build context of a container, and that its example is a JSON object."""
    path = ("models", model, "versions", version, "container")
    if container.context is not None and (
        problem := find_context_problem((root / container.context).resolve())
    ):
        yield Problem((*path, "context"), problem, False)
    if container.example is None:
        return
    file = root / container.example
    try:
        is_object = isinstance(msgspec.json.decode(file.read_bytes()), dict)
        reason = "" if is_object else "is not a JSON object"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"is not JSON ({error})"
    if reason:
        yield Problem(
            (*path, "example"),
            f"{reason}; write an inference request to {file}, or remove the key",
        )


def _check_version(
    model: str,
    version: str,
    spec: HostingSpec,
    card: ModelCard,
    directory: Path,
) -> Iterator[Problem]:
    version_spec = spec.models[model].versions[version]
    yield from _check_body_limits(model, spec, card)
    tensors = [tensor.name for tensor in (*card.inputs, *card.outputs)]
    for name in spec.models[model].capture.redact:
        if name not in tensors:
            yield Problem(
                ("models", model, "capture", "redact"),
                f"{name!r} is no input or output of version {version}, which has "
                f"{', '.join(tensors)}; correct the name, because its values would be captured",
                False,
            )
    path = ("models", model, "versions", version)
    if (card.name, card.version) != (model, version):
        yield Problem(
            path,
            f"{directory} contains version {card.version} of {card.name}; "
            f"set path to the directory of version {version} of {model}",
            False,
        )
    if version_spec.digest not in (None, actual := digest(directory)):
        yield Problem(
            (*path, "digest"),
            f"{version_spec.digest} is not the digest of {directory}, {actual}; "
            "restore the pinned version, or pin the current digest",
            False,
        )


def _check_body_limits(model: str, spec: HostingSpec, card: ModelCard) -> Iterator[Problem]:
    """Check that a request with one row fits into the limits of gateway and berth."""
    size = smallest_request_bytes(card)
    limits: list[tuple[tuple[str, ...], int]] = [
        (("models", model, "serving", "max_body_bytes"), spec.models[model].serving.max_body_bytes),
        (("gateway", "max_body_bytes"), spec.gateway.max_body_bytes),
    ]
    unit = "one row" if card.has_rows else "the example"
    for path, limit in limits:
        if size > limit:
            yield Problem(
                path,
                f"{limit} is too small for a request to {model} {card.version}: {unit} has {size} "
                f"bytes as binary tensor data; set it to more than {size}",
                False,
            )


def _check_shared_traffic(
    model: str, entry: ModelSpec, cards: dict[str, ModelCard]
) -> Iterator[Problem]:
    """Check that a request without a version is valid for each version that may receive it."""
    sharing = [
        version
        for version in entry.versions
        if version in cards and (entry.traffic.get(version, 0) > 0 or version == entry.shadow)
    ]
    for version in sharing[1:]:
        first = sharing[0]
        for kind in ("inputs", "outputs"):
            ours, theirs = (_signature(getattr(cards[v], kind)) for v in (first, version))
            if ours != theirs:
                yield Problem(
                    ("models", model, "traffic"),
                    f"versions {first} and {version} cannot share requests: the {kind} of "
                    f"{first} are {_format(ours)}, those of {version} are {_format(theirs)}; "
                    f"move all traffic to one of them, or package {version} as another model",
                    False,
                )


def _signature(tensors: list[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.datatype for tensor in tensors}


def _format(signature: dict[str, str]) -> str:
    return ", ".join(f"{name} {datatype}" for name, datatype in sorted(signature.items()))
