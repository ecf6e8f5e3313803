"""Data drift of versions in `berth watch` and `berth dashboard`, from what berths export."""

import json
from dataclasses import replace

from berth.operations.watch.data_drift import DataDrift, DriftState, read_data_drift
from berth.operations.watch.page import build_page
from berth.operations.watch.snapshot import as_json, describe_health
from berth.operations.watch.terminal import format_snapshot
from berth_serving.metrics import Metrics
from tests.unit.watched import build_snapshot

_KEY = ("digits", "1")


def _build_scrape(
    windows: int | None, sizes: dict[str, tuple[float, bool]] | None = None, version: str = "1"
) -> str:
    """Return the metrics of a berth.

    Args:
        windows: Number of complete windows. None without training statistics.
        sizes: The index of each column of the input `age`, and whether it has drifted.
    """
    metrics = Metrics(None)
    labels = ("digits", version)
    metrics.info.labels(*labels, "sha256:1", "0.1.0", "1.2", "CPU").set(1)
    metrics.requests.labels(*labels, "200").inc()
    if windows is not None:
        metrics.data_drift.windows.labels(*labels).inc(windows)
    for column, (psi, is_drifted) in (sizes or {}).items():
        own = (*labels, "input", "age", column)
        metrics.data_drift.rows.labels(*own, "<= 1").inc(5)
        metrics.data_drift.psi.labels(*own).set(psi)
        metrics.data_drift.detected.labels(*own).set(int(is_drifted))
    return metrics.render().decode()


def test_version_without_statistics_is_not_recorded() -> None:
    assert read_data_drift([_build_scrape(None)]) == {
        _KEY: DataDrift(state=DriftState.NOT_RECORDED)
    }


def test_version_without_a_complete_window_has_no_result() -> None:
    assert read_data_drift([_build_scrape(0)])[_KEY].state is DriftState.NO_WINDOW


def test_compared_version_without_a_change() -> None:
    found = read_data_drift([_build_scrape(3, {"0": (0.02, False), "1": (0.3, False)})])
    assert found == {_KEY: DataDrift(state=DriftState.NO_CHANGE, compared=2)}


def test_change_in_one_replica_is_a_change_of_the_version() -> None:
    quiet = _build_scrape(3, {"0": (0.05, False), "1": (0.9, True), "2": (0.01, False)})
    changed = _build_scrape(1, {"0": (0.2, True), "1": (0.4, False), "2": (0.3, False)})
    found = read_data_drift([quiet, changed, _build_scrape(0)])[_KEY]
    assert (found.state, found.compared) == (DriftState.CHANGED, 3)
    assert [(each.column, each.psi) for each in found.changed] == [("1", 0.9), ("0", 0.2)]


def test_program_without_metrics_of_a_berth_is_ignored() -> None:
    assert read_data_drift(["", 'berth_gateway_in_flight{model="digits"} 0\n']) == {}


def test_views_name_the_columns_that_changed_most() -> None:
    sizes = {str(column): (1 + column / 10, True) for column in range(7)}
    drift = read_data_drift([_build_scrape(2, {**sizes, "7": (0.0, False)})])[_KEY]
    snapshot = build_snapshot()
    first, second = snapshot.berths
    others = [
        replace(first, version="3", data_drift=DataDrift(state=DriftState.NOT_RECORDED)),
        replace(first, version="4", data_drift=DataDrift(state=DriftState.NO_CHANGE, compared=1)),
    ]
    snapshot = replace(snapshot, berths=(replace(first, data_drift=drift), second, *others))
    lines = format_snapshot(snapshot)
    start = lines.index("DATA DRIFT")
    assert lines[start + 1 : start + 5] == [
        "digits 1: changed in 7 of 8 columns: input age[6] (PSI 1.60), input age[5] (PSI 1.50), "
        "input age[4] (PSI 1.40), input age[3] (PSI 1.30), input age[2] (PSI 1.20) and 2 more",
        "digits 4: no change in 1 column",
        "no training statistics: digits 3",
        "no metrics: digits 2",
    ]
    assert "Requests differ from the training data: digits 1." in describe_health(snapshot)
    page = build_page([snapshot])
    assert '<h2 id="data-drift-title">Data drift</h2>' in page
    assert all(line in page for line in lines[start + 1 : start + 5])
    document = json.loads(json.dumps(as_json(snapshot)))["berths"][0]["data_drift"]
    assert (document["state"], document["compared"]) == ("changed", 8)
    assert document["changed"][0] == {
        "side": "input",
        "tensor": "age",
        "column": "6",
        "psi": 1.6,
    }
