"""Models in the registry of a real MLflow server, over HTTP. Needs the complete package mlflow."""

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from berth.operations.package import PackagedModel, PackageError
from berth.operations.package_mlflow import package_source
from pulumi_berth.local.loopback import find_free_port
from tests.small_models import build

_START_SECONDS = 600
_ROWS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with its data in SQLite."""
    program = shutil.which("mlflow")
    if program is None or not all(map(importlib.util.find_spec, ("mlflow", "flask"))):
        pytest.skip("not installed: mlflow with its server; pip install mlflow")
    root = tmp_path_factory.mktemp("mlflow")
    port = find_free_port()
    command = [
        *(program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"),
        *("--artifacts-destination", str(root / "artifacts")),
    ]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=root)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _responds(address):
            assert process.poll() is None, (root / "log").read_text()
            assert time.monotonic() < deadline, (root / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def _responds(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def mlflow(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The client of the server."""
    import mlflow as module

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    module.set_tracking_uri(server)
    yield module
    module.set_tracking_uri(None)


def _package(source: str, into: Path, **options: Any) -> PackagedModel:
    return package_source(source, name="m", version="1", into=into, **options)


def test_registered_version_and_alias_are_packaged_with_their_origin(
    mlflow: Any, tmp_path: Path
) -> None:
    graph = build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        {"x": (TensorProto.FLOAT, [None, 2])},
        {"y": (TensorProto.FLOAT, [None, 1])},
        {"axes": np.array([1])},
    )
    onnx.checker.check_model(graph)
    with mlflow.start_run() as run:
        mlflow.onnx.log_model(
            graph,
            name="sums",
            signature=mlflow.models.infer_signature(_ROWS, _ROWS[:, :1]),
            input_example=_ROWS[:5],
            registered_model_name="sums",
        )
    mlflow.MlflowClient().set_registered_model_alias("sums", "champion", 1)
    packaged = [
        _package(uri, tmp_path / str(index))
        for index, uri in enumerate(["models:/sums/1", "models:/sums@champion"])
    ]
    for result in packaged:
        origin = result.card.source.mlflow
        assert origin is not None
        assert (origin.registered_model, origin.registered_version) == ("sums", "1")
        assert origin.run_id == run.info.run_id
        assert result.rows == 5
    with pytest.raises(PackageError, match="MLflow cannot download the model"):
        _package("models:/sums/9", tmp_path / "missing")


def test_booster_of_lightgbm_is_packaged(mlflow: Any, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    data = lightgbm.Dataset(_ROWS, _ROWS[:, 0] > 0)
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, data, 3)
    mlflow.lightgbm.log_model(
        booster,
        name="trees",
        signature=mlflow.models.infer_signature(_ROWS, booster.predict(_ROWS)),
        input_example=_ROWS[:5],
        registered_model_name="trees",
    )
    result = _package("models:/trees/1", tmp_path / "models")
    assert result.card.source.framework == "lightgbm"


def test_estimator_of_scikit_learn_is_rejected_with_what_to_do(mlflow: Any, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    mlflow.sklearn.log_model(
        LogisticRegression().fit(_ROWS, _ROWS[:, 0] > 0),
        name="estimator",
        input_example=_ROWS[:5],
        registered_model_name="estimator",
    )
    with pytest.raises(PackageError, match=r"models:/estimator/1: .*mlflow\.onnx too, or package"):
        _package("models:/estimator/1", tmp_path / "models")
    assert not (tmp_path / "models").exists()
