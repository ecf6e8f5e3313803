"""The model versions that a specification names, held against what is on disk."""

from collections.abc import Iterator
from pathlib import Path

from berth.spec.document import read_document
from berth.spec.errors import Problem, SpecError, rendered
from berth.spec.hosting import HostingSpec
from berth.spec.model_store import version_directory
from berth.spec.models import ModelSpec, VersionSpec
from berth.spec.typed import lines
from berth_protocol.model_card import CardError, ModelCard, Tensor, digest, read_card, verify_files


def check_models(spec: HostingSpec, root: Path, source: Path | None = None) -> None:
    """Hold every version that `spec` deploys against its folder under the project `root`.

    Args:
        source: the configuration file that `spec` was read from; the errors then name its lines.

    Raises:
        SpecError: naming every version whose folder or card is missing or wrong, whose files
            differ from the card, or whose digest is not the pinned one; and models whose
            versions share traffic, but not inputs and outputs.
    """
    problems = [problem for name in spec.models for problem in _of_model(name, spec, root)]
    if not problems:
        return
    if source is not None:
        raise SpecError(lines(read_document(source), problems))
    raise SpecError([f"{rendered(problem.path)}: {problem.message}" for problem in problems])


def _of_model(model: str, spec: HostingSpec, root: Path) -> Iterator[Problem]:
    entry = spec.models[model]
    cards: dict[str, ModelCard] = {}
    for version, version_spec in entry.versions.items():
        directory = version_directory(root, model, version, version_spec.path)
        try:
            card = cards[version] = read_card(directory)
            verify_files(directory, card)
        except CardError as error:
            yield Problem(("models", model, "versions", version), str(error), False)
            continue
        yield from _of_version(model, version, version_spec, card, directory)
    yield from _disagreements(model, entry, cards)


def _of_version(
    model: str, version: str, version_spec: VersionSpec, card: ModelCard, directory: Path
) -> Iterator[Problem]:
    path = ("models", model, "versions", version)
    if (card.name, card.version) != (model, version):
        yield Problem(
            path,
            f"{directory} holds version {card.version} of {card.name}; "
            f"give the folder of version {version} of {model} as path",
            False,
        )
    if version_spec.digest not in (None, actual := digest(directory)):
        yield Problem(
            (*path, "digest"),
            f"{version_spec.digest} is not the digest of {directory}, {actual}; "
            "put the pinned version back, or pin the present one",
            False,
        )


def _disagreements(model: str, entry: ModelSpec, cards: dict[str, ModelCard]) -> Iterator[Problem]:
    """Requests that name no version must be valid for every version that may get them."""
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
                    f"{first} are {_words(ours)}, those of {version} are {_words(theirs)}; "
                    f"give the requests to one of them, or make {version} a model of its own",
                    False,
                )


def _signature(tensors: list[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.datatype for tensor in tensors}


def _words(signature: dict[str, str]) -> str:
    return ", ".join(f"{name} {datatype}" for name, datatype in sorted(signature.items()))
