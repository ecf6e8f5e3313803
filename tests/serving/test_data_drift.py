"""Data drift: rows of requests are counted in the bins of training statistics and compared."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from scipy.stats import chi2, chi2_contingency

from berth_protocol.model_card import file_sha256
from berth_protocol.training_statistics import (
    SCHEMA,
    Feature,
    Kind,
    Side,
    StatisticsError,
    TrainingStatistics,
    read_statistics,
)
from berth_serving.data_drift.homogeneity import chi_squared_tail, compare_counts
from berth_serving.data_drift.measures import TensorMeter, sample_rows
from berth_serving.data_drift.monitor import DriftMonitor, WindowResult, choose_alpha
from tests.serving.berth import run_berth, wait_until, write_identity_model

_EDGES = [float(edge) for edge in np.arange(1, 10) / 10]


def _uniform(rows: int = 2000, *, tensor: str = "x", side: Side = Side.INPUT) -> Feature:
    """A column of numbers between 0 and 1."""
    return Feature(
        side=side,
        tensor=tensor,
        kind=Kind.NUMBER,
        edges=_EDGES,
        counts=[*[rows // 10] * 10, 0],
    )


class _Recorded:
    """A monitor with a clock of its own, and what it reported."""

    def __init__(self, statistics: TrainingStatistics, **options: Any) -> None:
        self.now = 0.0
        self.counts: dict[str, list[int]] = {}
        self.windows: list[list[WindowResult]] = []
        self.monitor = DriftMonitor(
            statistics,
            **{"window_seconds": 60, "min_rows": 1000} | options,
            observe_counts=self._add,
            observe_window=self.windows.append,
            clock=lambda: self.now,
        )

    def _add(self, feature: Feature, counts: Any) -> None:
        before = self.counts.get(feature.tensor, [0] * len(counts))
        self.counts[feature.tensor] = [a + b for a, b in zip(before, counts, strict=True)]

    def send(self, array: Any, *, seconds: float, rows: int = 100) -> None:
        """Send the rows in requests that arrive at equal distances."""
        parts = range(0, len(array), rows)
        for start in parts:
            self.now += seconds / len(parts)
            part = array[start : start + rows]
            self.monitor.observe({"x": part}, {"y": part})


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 22])
@pytest.mark.parametrize("statistic", [0.0, 0.5, 4.0, 30.0, 200.0])
def test_tail_of_chi_squared_equals_scipy(degrees: int, statistic: float) -> None:
    assert chi_squared_tail(statistic, degrees) == pytest.approx(
        chi2.sf(statistic, degrees), rel=1e-9, abs=1e-300
    )


def test_p_value_equals_test_of_contingency_table() -> None:
    reference, window = np.array([200, 300, 500]), np.array([110, 150, 260])
    expected = chi2_contingency([reference, window], correction=False).pvalue
    assert compare_counts(reference, window).p_value == pytest.approx(expected)


def test_equal_shares_have_no_difference() -> None:
    comparison = compare_counts(np.array([200, 300]), np.array([400, 600]))
    assert comparison.p_value == pytest.approx(1.0)
    assert comparison.psi == pytest.approx(0.0, abs=1e-4)


def test_rare_bins_are_compared_together() -> None:
    """Each rare bin has too few rows by itself, and together they changed."""
    reference = np.array([1000, *[2] * 10, 0])
    window = np.array([900, *[10] * 10, 0])
    merged = chi2_contingency([[1000, 20], [900, 100]], correction=False).pvalue
    assert compare_counts(reference, window).p_value == pytest.approx(merged)


@pytest.mark.parametrize("window", [[0, 0], [3, 2], [1000, 0]])
def test_counts_without_two_frequent_bins_are_no_evidence(window: list[int]) -> None:
    assert compare_counts(np.array([1000, 0]), np.array(window)).p_value == 1.0


def test_false_alarms_are_divided_among_windows_and_features() -> None:
    windows_a_day, features = 96, 20
    assert choose_alpha(900, features) * windows_a_day * features == pytest.approx(0.01)


def test_window_of_changed_rows_is_reported_and_others_are_not() -> None:
    random = np.random.default_rng(1)
    run = _Recorded(TrainingStatistics(SCHEMA, 2000, [_uniform()]))
    for change in (0.0, 0.3, 0.0):
        run.send(random.random((1500, 1)) + change, seconds=61)
    assert [[result.is_drifted for result in window] for window in run.windows] == [
        [False],
        [True],
        [False],
    ]


def test_difference_that_does_not_matter_is_not_reported() -> None:
    """With 200,000 rows on both sides, a change of a hundredth is certain but small."""
    random = np.random.default_rng(2)
    run = _Recorded(TrainingStatistics(SCHEMA, 200_000, [_uniform(200_000)]))
    run.send(random.random((200_000, 1)) ** 1.1, seconds=61, rows=256)
    (window,) = run.windows
    assert window[0].comparison.p_value < 1e-9
    assert not window[0].is_drifted


def test_window_ends_after_its_time_and_its_rows() -> None:
    random = np.random.default_rng(3)
    run = _Recorded(TrainingStatistics(SCHEMA, 2000, [_uniform()]))
    run.send(random.random((5000, 1)), seconds=59)
    assert not run.windows, "the time is not over"
    run.send(random.random((100, 1)), seconds=2)
    assert len(run.windows) == 1
    run.send(random.random((900, 1)), seconds=3600)
    assert len(run.windows) == 1, "there are too few rows"


def test_inputs_and_outputs_of_one_name_are_compared_separately() -> None:
    random = np.random.default_rng(4)
    features = [_uniform(), _uniform(side=Side.OUTPUT)]
    run = _Recorded(TrainingStatistics(SCHEMA, 2000, features))
    for _ in range(20):
        run.now += 4
        run.monitor.observe({"x": random.random((100, 1))}, {"x": random.random((100, 1)) + 0.5})
    drifted = [result.feature.side for result in run.windows[0] if result.is_drifted]
    assert drifted == [Side.OUTPUT]


def test_counts_of_all_bins_add_up_to_the_rows() -> None:
    run = _Recorded(TrainingStatistics(SCHEMA, 2000, [_uniform()]))
    rows = np.array([[-5.0], [0.1], [0.15], [9.0], [math.nan], [math.inf], [-math.inf]])
    run.send(rows, seconds=2)
    assert run.counts["x"] == [3, 1, *[0] * 7, 2, 1]


def test_rows_with_a_missing_column_are_not_counted() -> None:
    feature = _uniform()
    feature.column = 3
    run = _Recorded(TrainingStatistics(SCHEMA, 2000, [feature]))
    run.send(np.zeros((10, 2)), seconds=2)
    assert run.counts == {}


def test_counting_stops_when_its_share_of_the_time_is_used() -> None:
    run = _Recorded(TrainingStatistics(SCHEMA, 2000, [_uniform()]), min_rows=10**9)
    rows = np.zeros((256, 1))
    for _ in range(5000):
        run.monitor.observe({"x": rows}, {})
    run.now = 2.0
    run.monitor.observe({"x": rows}, {})
    assert 0 < sum(run.counts["x"]) < 5000 * 256


def test_text_is_counted_by_value_or_length() -> None:
    texts = np.array([["a", "xyz"], ["b", ""], ["new", "x" * 100]], object)
    meter = TensorMeter(
        [
            Feature(side=Side.INPUT, tensor="t", kind=Kind.TEXT, values=["a", "b"], counts=[0] * 4),
            Feature(
                side=Side.INPUT, tensor="t", kind=Kind.LENGTH, column=1, edges=[2], counts=[0] * 3
            ),
        ]
    )
    measured = meter.measure(texts)
    assert measured is not None
    assert [counts.tolist() for counts in meter.count(measured)] == [[1, 1, 1, 0], [1, 2, 0]]


@pytest.mark.parametrize("shape", [(1_000_000, 2), (5000, 64), (3, 3, 512, 512)])
def test_sample_of_large_tensor_is_small(shape: tuple[int, ...]) -> None:
    sample = sample_rows(np.zeros(shape, np.float32))
    assert 1 <= len(sample) <= 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other"}, "schema 'other' is not supported"),
        ({"rows": 7}, "do not add up to 7 rows"),
        ({"features": [{"side": "input"}]}, "missing required field"),
    ],
)
def test_invalid_statistics_are_rejected(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    document = msgspec.to_builtins(TrainingStatistics(SCHEMA, 2000, [_uniform()]))
    path = tmp_path / "statistics.json"
    path.write_bytes(msgspec.json.encode(document | change))
    with pytest.raises(StatisticsError, match=message):
        read_statistics(path)


def test_statistics_that_are_too_long_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    path.write_bytes(b" " * (300 << 10))
    with pytest.raises(StatisticsError, match="is longer than"):
        read_statistics(path)


def _write_model(directory: Path) -> Path:
    """Write a model whose output is its input, with statistics of a uniform column."""
    write_identity_model(directory, "FP32", [None, 1], [0.5])
    features = [_uniform(), _uniform(tensor="y", side=Side.OUTPUT)]
    path = directory / "statistics.json"
    path.write_bytes(msgspec.json.encode(TrainingStatistics(SCHEMA, 2000, features)))
    card = yaml.safe_load((directory / "model.yaml").read_text())
    card["statistics"] = path.name
    card["files"][path.name] = file_sha256(path)
    (directory / "model.yaml").write_text(yaml.safe_dump(card))
    return directory


def _request(rows: Any) -> dict[str, Any]:
    data = [float(value) for value in np.ravel(rows)]
    return {"inputs": [{"name": "x", "shape": [len(data), 1], "datatype": "FP32", "data": data}]}


@pytest.mark.slow
def test_berth_with_two_workers_reports_drift_of_requests(tmp_path: Path, log: Path) -> None:
    random = np.random.default_rng(5)
    settings = {"workers": "2", "data_drift_seconds": "1", "data_drift_rows": "500"}
    with run_berth(_write_model(tmp_path / "m"), log, **settings) as berth:

        def count_alarms_after(change: float) -> float:
            """Return the alarms once four more windows are complete."""
            windows = berth.metric("berth_data_drift_windows_total") + 4

            def is_complete() -> bool:
                # Each request has a connection of its own, so that it can reach either worker.
                for _ in range(5):
                    with berth.create_client() as client:
                        body = _request(random.random(200) + change)
                        assert client.post(berth.infer_path, json=body).status_code == 200
                return berth.metric("berth_data_drift_windows_total") >= windows

            wait_until(is_complete, "four windows")
            return berth.metric("berth_data_drift_alarms_total", 'side="input"')

        assert count_alarms_after(0.0) == 0
        assert berth.metric("berth_data_drift_detected") == 0
        assert count_alarms_after(0.4) > 0
        assert berth.metric("berth_data_drift_psi", 'side="input"', 'tensor="x"') > 0.1
        counted = berth.metric("berth_data_drift_rows_total", 'tensor="x"')
        assert counted == berth.metric("berth_data_drift_rows_total", 'tensor="y"') > 0


def test_berth_counts_nothing_if_data_drift_is_off(tmp_path: Path, log: Path) -> None:
    with run_berth(_write_model(tmp_path / "m"), log, data_drift="false") as berth:
        assert berth.infer(_request(np.zeros(300))).status_code == 200
        assert "berth_data_drift_rows_total{" not in berth.client.get("/metrics").text
