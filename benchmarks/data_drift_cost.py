"""CPU time of requests with and without counting for data drift, as a ratio.

Two berths serve the same model, one with `BERTH_DATA_DRIFT=false`. Blocks of requests alternate
between both, so that a busy machine slows both. CPU time of the processes is compared, not seconds.
The kernel counts it in hundredths of a second, so a block needs many requests.

    python -m benchmarks.data_drift_cost
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import httpx
import numpy as np
import psutil
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.server import free_ports, server
from berth.operations.package import package_model

_SETTINGS = {"BERTH_LOG_LEVEL": "error", "BERTH_DATA_DRIFT_SECONDS": "2"}


def _package(into: Path) -> Path:
    rows, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    return package_model(
        model, rows=rows[:100], name="m", version="1", into=into, reference_data=rows
    ).path


def _read_cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _measure(client: httpx.Client, process: psutil.Process, body: bytes, requests: int) -> float:
    """Return the CPU seconds of a request."""
    before = _read_cpu(process)
    for _ in range(requests):
        client.post("/v2/models/m/infer", content=body).raise_for_status()
    return (_read_cpu(process) - before) / requests


def main() -> None:
    """Print the ratio for requests of several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    rows = load_breast_cancer().data.astype(np.float32)
    with tempfile.TemporaryDirectory() as directory:
        environment = {**_SETTINGS, "BERTH_MODEL_DIR": str(_package(Path(directory)))}
        on, off = free_ports(2)
        with (
            server(["berth_serving"], environment | {"BERTH_PORT": str(on)}, on) as counting,
            server(
                ["berth_serving"],
                environment | {"BERTH_PORT": str(off), "BERTH_DATA_DRIFT": "false"},
                off,
            ) as plain,
            httpx.Client(base_url=f"http://127.0.0.1:{on}") as to_counting,
            httpx.Client(base_url=f"http://127.0.0.1:{off}") as to_plain,
        ):
            print("| rows of a request | requests in each berth | CPU time, ratio | spread |")
            print("|--:|--:|--:|--:|")
            for count in (1, 32, 256):
                name = "input"
                data = ",".join(f"{value:.6g}" for value in rows[:count].ravel())
                body = (
                    f'{{"inputs":[{{"name":"{name}","datatype":"FP32","shape":[{count},30],'
                    f'"data":[{data}]}}]}}'
                ).encode()
                requests = options.requests
                ratios = []
                for _ in range(options.rounds):
                    with_counts = _measure(to_counting, counting, body, requests)
                    ratios.append(with_counts / _measure(to_plain, plain, body, requests))
                middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
                total = options.rounds * requests
                row = f"| {count} | {total:,} | {middle:.3f} | {low:.2f} to {high:.2f} |"
                print(row, flush=True)


if __name__ == "__main__":
    main()
