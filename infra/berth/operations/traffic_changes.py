"""How the traffic of each model version changes between two specifications."""

from collections.abc import Iterator
from dataclasses import dataclass

from berth.spec import HostingSpec

_ABSENT = "not deployed"


@dataclass(frozen=True, kw_only=True)
class TrafficChange:
    """The traffic of a model version before and after an update.

    Attributes:
        model: Name of the model.
        version: Version of the model.
        before: Percent of the requests, such as `90%`, or `not deployed`.
        after: Likewise.
    """

    model: str
    version: str
    before: str
    after: str


def compare_traffic(before: HostingSpec | None, after: HostingSpec) -> list[TrafficChange]:
    """Return all versions of each model of which at least one version changes, by name.

    Args:
        before: What is deployed, or None if nothing is.
    """
    ones, others = dict(_describe(before)), dict(_describe(after))
    changed = {
        model
        for model, version in {*ones, *others}
        if ones.get((model, version)) != others.get((model, version))
    }
    return [
        TrafficChange(
            model=model,
            version=version,
            before=ones.get((model, version), _ABSENT),
            after=others.get((model, version), _ABSENT),
        )
        for model, version in sorted({*ones, *others})
        if model in changed
    ]


def _describe(spec: HostingSpec | None) -> Iterator[tuple[tuple[str, str], str]]:
    for model, entry in spec.models.items() if spec else ():
        for version in entry.versions:
            text = f"{entry.traffic.get(version, 0)}%"
            if version == entry.shadow:
                text += ", shadow"
            elif not entry.traffic.get(version) and version in entry.exposed_versions:
                text += ", exposed"
            yield (model, version), text
