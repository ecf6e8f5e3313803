"""Data drift of each version, from the metrics of its berths."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

_INFO = "berth_model_info"
_WINDOWS = "berth_data_drift_windows_total"
_PSI = "berth_data_drift_psi"
_DETECTED = "berth_data_drift_detected"
_METRICS = (_INFO, _WINDOWS, _PSI, _DETECTED)
_SHOWN_COLUMNS = 5


class DriftState(StrEnum):
    """What the berths of a version know about data drift."""

    NOT_RECORDED = "not recorded"
    """The version has no training statistics, or `data_drift` is off."""
    NO_WINDOW = "no window yet"
    """No window of requests is complete."""
    NO_CHANGE = "no change"
    CHANGED = "changed"


@dataclass(frozen=True, kw_only=True)
class DriftedColumn:
    """A column of an input or an output whose values differ from the training data.

    Attributes:
        side: `input` or `output`.
        tensor: Name of the tensor.
        column: Position in a row, or the name of a summary.
        psi: Population stability index of the last window, the largest of all workers.
    """

    side: str
    tensor: str
    column: str
    psi: float


@dataclass(frozen=True, kw_only=True)
class DataDrift:
    """How the requests of a version compare with its training data.

    Attributes:
        state: What is known.
        compared: Number of columns that are compared.
        changed: The columns that changed, those that changed most first.
    """

    state: DriftState
    compared: int = 0
    changed: tuple[DriftedColumn, ...] = ()


def read_data_drift(scrapes: Iterable[str]) -> dict[tuple[str, str], DataDrift]:
    """Return the data drift by model and version. A version without a response is missing.

    Args:
        scrapes: The metrics of each program. Workers and replicas compare their own windows, so
            one of them is enough for a change.
    """
    from prometheus_client.parser import text_string_to_metric_families

    known: set[tuple[str, str]] = set()
    windows: defaultdict[tuple[str, str], float] = defaultdict(float)
    sizes: defaultdict[tuple[str, str], dict[tuple[str, str, str], float]] = defaultdict(dict)
    detected: defaultdict[tuple[str, str], set[tuple[str, str, str]]] = defaultdict(set)
    for text in scrapes:
        # A version has up to 1,536 series of other metrics, and parsing is slow.
        lines = "".join(f"{each}\n" for each in text.splitlines() if each.startswith(_METRICS))
        for family in text_string_to_metric_families(lines):
            for sample in family.samples:
                labels = sample.labels
                version = labels["model"], labels["version"]
                known.add(version)
                if sample.name == _WINDOWS:
                    windows[version] += sample.value
                    continue
                if sample.name not in (_PSI, _DETECTED):
                    continue
                column = labels["side"], labels["tensor"], labels["column"]
                if sample.name == _PSI:
                    own = sizes[version]
                    own[column] = max(own.get(column, 0.0), sample.value)
                elif sample.value:
                    detected[version].add(column)
    return {
        version: _summarize(windows.get(version), sizes[version], detected[version])
        for version in known
    }


def _summarize(
    windows: float | None,
    sizes: Mapping[tuple[str, str, str], float],
    detected: set[tuple[str, str, str]],
) -> DataDrift:
    if windows is None:
        return DataDrift(state=DriftState.NOT_RECORDED)
    if not windows:
        return DataDrift(state=DriftState.NO_WINDOW)
    changed = [
        DriftedColumn(side=side, tensor=tensor, column=column, psi=sizes[side, tensor, column])
        for side, tensor, column in sorted(detected & sizes.keys())
    ]
    return DataDrift(
        state=DriftState.CHANGED if changed else DriftState.NO_CHANGE,
        compared=len(sizes),
        changed=tuple(sorted(changed, key=lambda each: -each.psi)),
    )


def describe_data_drift(berths: Sequence[tuple[str, DataDrift | None]]) -> list[str]:
    """Return one line for each version that is compared, and one for all others.

    Args:
        berths: The name of each version, and what is known of it.
    """
    lines = []
    for name, drift in berths:
        if drift is None or drift.state is DriftState.NOT_RECORDED:
            continue
        text = f"{name}: {drift.state}"
        if drift.state is DriftState.NO_CHANGE:
            text += f" in {_count(drift.compared)}"
        elif drift.changed:
            text += f" in {len(drift.changed)} of {_count(drift.compared)}: {_list_columns(drift)}"
        lines.append(text)
    for title, names in (
        ("no training statistics", _select(berths, DriftState.NOT_RECORDED)),
        ("no metrics", _select(berths, None)),
    ):
        if names:
            lines.append(f"{title}: {', '.join(names)}")
    return lines


def _select(berths: Sequence[tuple[str, DataDrift | None]], state: DriftState | None) -> list[str]:
    return [name for name, drift in berths if (drift.state if drift else None) is state]


def _list_columns(drift: DataDrift) -> str:
    shown = [
        f"{each.side} {each.tensor}[{each.column}] (PSI {each.psi:.2f})"
        for each in drift.changed[:_SHOWN_COLUMNS]
    ]
    more = len(drift.changed) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _count(columns: int) -> str:
    return f"{columns} column{'' if columns == 1 else 's'}"
