"""The model versions that a specification names, held against what is on disk."""

from collections.abc import Iterator
from pathlib import Path

from infra.model_store import version_directory
from infra.spec.errors import SpecError, rendered
from infra.spec.hosting import HostingSpec
from infra.spec.models import ModelSpec, VersionSpec
from serving_app.card import CardError, ModelCard, Tensor, digest, read_card, verify_files


def check_models(spec: HostingSpec, root: Path) -> None:
    """Hold every version that `spec` deploys against its folder under the project `root`.

    Raises:
        SpecError: naming every version whose folder or card is missing or wrong, whose files
            differ from the card, or whose digest is not the pinned one; and models whose
            versions share traffic, but not inputs and outputs.
    """
    problems: list[str] = []
    for model, entry in spec.models.items():
        cards: dict[str, ModelCard] = {}
        for version, version_spec in entry.versions.items():
            place = rendered(("models", model, "versions", version))
            directory = version_directory(root, model, version, version_spec.path)
            try:
                card = read_card(directory)
                verify_files(directory, card)
            except CardError as error:
                problems.append(f"{place}: {error}")
                continue
            cards[version] = card
            problems += (
                f"{place}{problem}"
                for problem in _wrong(model, version, version_spec, card, directory)
            )
        problems += _disagreements(model, entry, cards)
    if problems:
        raise SpecError(problems)


def _wrong(
    model: str, version: str, version_spec: VersionSpec, card: ModelCard, directory: Path
) -> Iterator[str]:
    if (card.name, card.version) != (model, version):
        yield (
            f": {directory} holds version {card.version} of {card.name}; "
            f"give the folder of version {version} of {model} as path"
        )
    if version_spec.digest not in (None, actual := digest(directory)):
        yield (
            f".digest: {version_spec.digest} is not the digest of {directory}, {actual}; "
            "put the pinned files back, or pin the present ones"
        )


def _disagreements(model: str, entry: ModelSpec, cards: dict[str, ModelCard]) -> Iterator[str]:
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
                yield (
                    f"{rendered(('models', model, 'traffic'))}: versions {first} and {version} "
                    f"cannot share traffic: the {kind} of {first} are {_words(ours)}, those of "
                    f"{version} are {_words(theirs)}"
                )


def _signature(tensors: list[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.datatype for tensor in tensors}


def _words(signature: dict[str, str]) -> str:
    return ", ".join(f"{name} {datatype}" for name, datatype in sorted(signature.items()))
