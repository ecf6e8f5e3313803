"""A client that sends unchanged or changed rows to a version that detects data drift."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_breast_cancer

from tests.engine.project import Project, wait_for

MODEL, VERSION = "breast-cancer", "drifting"
UNCHANGED, CHANGED = 1.0, 2.0
"""Factors of all values. The changed rows have another unit of length."""
_REQUEST_ROWS = 50


def package_version(project: Project) -> dict[str, Any]:
    """Package a version with statistics of its training data, and return its configuration."""
    rows = project.root / "rows.npy"
    np.save(rows, load_breast_cancer().data.astype(np.float32))
    model = project.root / "models" / MODEL / "1" / "model.onnx"
    project.berth(
        *("package", str(model), "--name", MODEL, "--version", VERSION),
        *("--rows", str(rows), "--reference-data", str(rows)),
    )
    return {
        "versions": {VERSION: {}},
        "serving": {"data_drift_seconds": 1, "data_drift_rows": 300},
    }


@dataclass
class DriftingClient:
    """A client of the stack, and the metrics of the berth that answers it."""

    http: httpx.Client
    berth_url: str

    def read(self, metric: str) -> dict[tuple[str, str], float]:
        """Return the values of a metric by tensor and column."""
        text = self.http.get(f"{self.berth_url}/metrics").text
        return {
            (sample.labels.get("tensor", ""), sample.labels.get("column", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric
        }

    def count_windows(self) -> float:
        return sum(self.read("berth_data_drift_windows_total").values())

    def send_until(self, is_done: Callable[[], Any], factor: float) -> Any:
        """Send rows of the training data, multiplied by a factor, until a condition is true."""
        rows, random = load_breast_cancer().data, np.random.default_rng(1)

        def send() -> Any:
            for _ in range(3):
                data = factor * rows[random.integers(0, len(rows), _REQUEST_ROWS)]
                tensor = {
                    "name": "input",
                    "shape": [*data.shape],
                    "datatype": "FP32",
                    "data": data.ravel().tolist(),
                }
                response = self.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]})
                assert response.status_code == 200, response.text
            return is_done()

        return wait_for(send, seconds=120)

    def fill_window(self, factor: float) -> None:
        """Send rows until a window that has no others is complete."""
        end = self.count_windows() + 2
        self.send_until(lambda: self.count_windows() >= end, factor)


@contextmanager
def open_client(up: Project) -> Iterator[DriftingClient]:
    """Provide a client of a stack that runs the version."""
    status = up.json("status")
    with httpx.Client(
        base_url=status["endpoint"], headers={"x-api-key": up.key()}, timeout=30
    ) as http:
        yield DriftingClient(http, status["models"][MODEL]["versions"][VERSION]["url"])
