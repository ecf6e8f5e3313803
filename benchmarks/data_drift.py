"""How often data drift is reported wrongly, and how often a real change is found.

The simulation runs the product's packaging of statistics, its monitor and its test on random rows
with known distributions. Time is simulated, so that a window of 15 minutes takes milliseconds.

    python -m benchmarks.data_drift --windows 2000
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from berth.packaging.training_statistics import build_statistics
from berth_protocol.model_card import Tensor
from berth_protocol.training_statistics import TrainingStatistics
from berth_serving.data_drift.monitor import DriftMonitor, WindowResult

Rows = dict[str, np.ndarray[Any, Any]]

_WINDOW_SECONDS = 900
_REQUEST_ROWS = 250
_INPUTS = [
    Tensor("numbers", "FP32", [-1, 6]),
    Tensor("city", "BYTES", [-1, 1]),
    Tensor("count", "INT64", [-1, 1]),
    Tensor("image", "FP32", [-1, 64]),
]
_OUTPUTS = [Tensor("label", "INT64", [-1]), Tensor("score", "FP32", [-1, 2])]
_CITIES = np.array([f"city-{number}" for number in range(30)], object)


def draw_rows(random: np.random.Generator, count: int, *, levels: int = 12) -> Rows:
    """Return rows: numbers of several shapes with missing ones, categories, counts and images."""
    numbers = random.normal(size=(count, 6))
    numbers[:, 1] = np.exp(numbers[:, 1])  # A long tail.
    numbers[:, 2] = 0.8 * numbers[:, 0] + 0.6 * numbers[:, 2]  # Depends on another column.
    numbers[:, 3] = np.round(numbers[:, 3], 1)  # Many equal numbers.
    numbers[random.random(count) < 0.03, 4] = np.nan
    numbers[:, 5] = random.random(count) < 0.02  # A rare flag.
    shares = 1.0 / np.arange(1, levels + 1)
    return {
        "numbers": numbers.astype(np.float32),
        "city": random.choice(_CITIES[:levels], (count, 1), p=shares / shares.sum()),
        "count": random.poisson(3.0, (count, 1)),
        "image": random.normal(size=(count, 64)).astype(np.float32),
    }


def predict(rows: Rows) -> Rows:
    """Return the outputs of a fixed logistic model."""
    weights = np.array([1.0, -0.3, 0.7, 0.2, 0.0, 0.5])
    logits = np.nan_to_num(rows["numbers"].astype(np.float64)) @ weights + rows["count"][:, 0] - 3
    score = 1 / (1 + np.exp(-logits))
    return {
        "label": (score > 0.5).astype(np.int64),
        "score": np.stack([1 - score, score], axis=1).astype(np.float32),
    }


@dataclass
class _Window:
    results: list[WindowResult]

    @property
    def drifted(self) -> set[str]:
        """The tensors that are reported."""
        return {result.feature.tensor for result in self.results if result.is_drifted}

    @property
    def lowest(self) -> float:
        """The lowest p-value, after Bonferroni."""
        return min(result.comparison.p_value for result in self.results) * len(self.results)


def simulate_windows(
    statistics: TrainingStatistics, count: int, rows: int, draw: Callable[[], Rows]
) -> list[_Window]:
    """Return the results of windows of requests that the monitor gets."""
    now = 0.0
    windows: list[_Window] = []
    monitor = DriftMonitor(
        statistics,
        window_seconds=_WINDOW_SECONDS,
        min_rows=rows,
        observe_counts=lambda _feature, _counts: None,
        observe_window=lambda results: windows.append(_Window(results)),
        clock=lambda: now,
    )
    while len(windows) < count:
        batch = draw()
        outputs = predict(batch)
        for start in range(0, len(batch["numbers"]), _REQUEST_ROWS):
            now += _WINDOW_SECONDS * _REQUEST_ROWS / rows
            end = start + _REQUEST_ROWS
            monitor.observe(
                {name: array[start:end] for name, array in batch.items()},
                {name: array[start:end] for name, array in outputs.items()},
            )
    return windows


def package(random: np.random.Generator, rows: int) -> TrainingStatistics:
    """Return the statistics of reference rows."""
    return build_statistics(predict, draw_rows(random, rows), _INPUTS, _OUTPUTS)


def _shift(column: int, by: float) -> Callable[[Rows, np.random.Generator], None]:
    def change(rows: Rows, _random: np.random.Generator) -> None:
        rows["numbers"][:, column] += by

    return change


def _widen(rows: Rows, _random: np.random.Generator) -> None:
    rows["numbers"][:, 0] *= 1.75


def _lose(rows: Rows, random: np.random.Generator) -> None:
    rows["numbers"][random.random(len(rows["numbers"])) < 0.1, 0] = np.nan


def _replace_cities(rows: Rows, random: np.random.Generator) -> None:
    rows["city"][random.random(len(rows["city"])) < 0.15] = "a city that training never saw"


def _brighten(rows: Rows, _random: np.random.Generator) -> None:
    rows["image"] += 0.1


CHANGES: dict[str, tuple[str, Callable[[Rows, np.random.Generator], None]]] = {
    "a normal column moves by 0.3 standard deviations, below the limit": (
        "numbers",
        _shift(0, 0.3),
    ),
    "a normal column moves by 0.5 standard deviations": ("numbers", _shift(0, 0.5)),
    "a normal column moves by 1 standard deviation": ("numbers", _shift(0, 1.0)),
    "a normal column is 1.75 times as wide": ("numbers", _widen),
    "10 % of a column become missing": ("numbers", _lose),
    "15 % of a text column become an unknown value": ("city", _replace_cities),
    "images of 64 numbers become brighter by 0.1 standard deviations": ("image", _brighten),
}
"""Planted changes: the tensor in which they must be found, and the change."""


def measure_false_alarms(windows: int, reference: int, rows: int, seed: int) -> str:
    """Return a row of the table of false alarms. Twenty windows share one reference."""
    random = np.random.default_rng(seed)
    found: list[_Window] = []
    while len(found) < windows:
        statistics = package(random, reference)
        found += simulate_windows(statistics, 20, rows, lambda: draw_rows(random, rows))
    found = found[:windows]
    test = sum(window.lowest < 0.01 for window in found)
    alarms = sum(bool(window.drifted) for window in found)
    return (
        f"| {reference:,} | {rows:,} | {windows:,} | {test} ({test / windows:.2%}) "
        f"| {alarms} ({alarms / windows:.2%}) |"
    )


def measure_detection(name: str, windows: int, reference: int, rows: int, seed: int) -> str:
    """Return a row of the table of planted changes."""
    tensor, change = CHANGES[name]
    random = np.random.default_rng(seed)

    def draw() -> Rows:
        changed = draw_rows(random, rows)
        change(changed, random)
        return changed

    found: list[_Window] = []
    while len(found) < windows:
        found += simulate_windows(package(random, reference), 20, rows, draw)
    hits = sum(tensor in window.drifted for window in found[:windows])
    return f"| {name} | {reference:,} | {rows:,} | {hits} of {windows} ({hits / windows:.1%}) |"


def main() -> None:
    """Run the simulation and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| reference rows | window rows | windows | p < 1 % after Bonferroni | reported |")
    print("|--:|--:|--:|--:|--:|")
    for reference, rows in ((500, 1000), (2000, 1000), (20_000, 1000)):
        print(measure_false_alarms(options.windows, reference, rows, options.seed), flush=True)
    print(measure_false_alarms(options.windows // 10, 2000, 10_000, options.seed), flush=True)
    print("\n| planted change | reference rows | window rows | found |")
    print("|---|--:|--:|--:|")
    for name in CHANGES:
        print(measure_detection(name, options.windows // 10, 2000, 1000, options.seed), flush=True)


if __name__ == "__main__":
    main()
