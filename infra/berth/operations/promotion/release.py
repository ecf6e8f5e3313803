"""The release that a stack runs: versions by digest, traffic, and versions of datasets.

A release is what was tested. Everything else in a configuration file, such as replicas, sizes,
clients and domains, belongs to the stack.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.spec import DatasetSpec, HostingSpec, VersionSpec, version_directory
from berth_protocol.model_card import CardError, ModelCard, digest, read_card
from pulumi_berth.own_container_rules import ContextBuildError, digest_context


@dataclass(frozen=True, kw_only=True)
class ReleasedVersion:
    """A version as the stack runs it.

    Attributes:
        spec: Its entry in the configuration file.
        digest: Digest of the model version, or of its own container, that was deployed. None if
            the version is not deployed.
        image: `registry/name@sha256:...` that the stack runs. None on a platform without images.
    """

    spec: VersionSpec
    digest: str | None
    image: str | None


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """A model as the stack runs it.

    Attributes:
        versions: Version name -> version.
        traffic: Version name -> percentage, without versions that receive none.
    """

    versions: Mapping[str, ReleasedVersion]
    traffic: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is promoted.

    Attributes:
        stack: The stack that runs it.
        models: Model name -> model.
        datasets: Dataset name -> the version that the models read.
    """

    stack: str
    models: Mapping[str, ReleasedModel]
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)


def read_release(
    stack: str, spec: HostingSpec, outputs: Mapping[str, Any], models: Iterable[str] = ()
) -> Release:
    """Return the release that a stack runs.

    Args:
        outputs: Outputs of its latest update. Empty if it is not deployed.
        models: Models to promote. Defaults to all.

    Raises:
        OperationError: If the stack has no such model.
    """
    names = list(dict.fromkeys(models)) or list(spec.models)
    unknown = [name for name in names if name not in spec.models]
    if unknown:
        raise OperationError(
            f"Stack '{stack}' has no model '{unknown[0]}'. Models: {', '.join(spec.models)}. "
            "Nothing was changed."
        )
    deployed = outputs.get("models", {})
    return Release(
        stack=stack,
        models={
            name: ReleasedModel(
                versions={
                    version: _read_version(entry, _find(deployed, name, version))
                    for version, entry in spec.models[name].versions.items()
                },
                traffic={v: weight for v, weight in spec.models[name].traffic.items() if weight},
            )
            for name in names
        },
        datasets={
            name: entry
            for name, entry in spec.data.datasets.items()
            if not set(names).isdisjoint(entry.models)
        },
    )


def _find(deployed: Mapping[str, Any], model: str, version: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = deployed.get(model, {}).get("versions", {}).get(version, {})
    return entry


def _read_version(spec: VersionSpec, deployed: Mapping[str, Any]) -> ReleasedVersion:
    return ReleasedVersion(spec=spec, digest=deployed.get("digest"), image=deployed.get("image"))


def read_digest(root: Path, model: str, version: str, spec: VersionSpec) -> str:
    """Return the digest of the files of a version in the project, or of its own container.

    Raises:
        OperationError: If they cannot be read.
    """
    try:
        if spec.container is None:
            return digest(version_directory(root, model, version, spec.path))
        if spec.container.context is not None:
            return digest_context((root / spec.container.context).resolve())
    except (OSError, ContextBuildError) as error:
        raise OperationError(str(error)) from error
    return str(spec.container.image).rpartition("@")[2]


def read_released_card(
    root: Path, model: str, version: str, spec: VersionSpec, expected: str | None
) -> ModelCard | None:
    """Return the card of a version, or None if the project does not have that version.

    Args:
        expected: Digest that the stack runs. A card with another digest is not that version's.
    """
    if spec.container is not None:
        return None
    directory = version_directory(root, model, version, spec.path)
    try:
        card = read_card(directory)
        return card if expected in (None, digest(directory)) else None
    except (CardError, OSError):
        return None
