"""The predictions of two versions of a model on the same rows."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from berth.operations.prediction_diff import (
    PredictionDiff,
    as_json,
    choose_answers,
    compare_predictions,
    measure_quality,
    wilson_interval,
)
from berth.operations.prediction_runs import compare_versions, list_pairs, match_rows
from berth.operations.report_markdown import format_markdown
from berth.packaging.card_format import format_card
from berth.packaging.errors import PackageError
from berth.spec import HostingSpec, load_file
from berth_protocol.model_card import SCHEMA, ModelCard, Source, Tensor
from tests.small_models import build
from tests.unit.test_report import build_report


def _write_version(root: Path, version: str, threshold: float, **more: Any) -> None:
    """Write a version whose label is 1 if the row's value exceeds the threshold."""
    directory = root / "models" / "m" / version
    directory.mkdir(parents=True)
    model = build(
        [
            helper.make_node("Greater", ["x", "threshold"], ["is_above"]),
            helper.make_node("Cast", ["is_above"], ["label"], to=TensorProto.INT64),
            helper.make_node("Sub", ["x", "threshold"], ["score"]),
        ],
        {"x": (TensorProto.FLOAT, [None, 1])},
        {"label": (TensorProto.INT64, [None, 1]), "score": (TensorProto.FLOAT, [None, 1])},
        {"threshold": np.array([threshold], np.float32)},
    )
    onnx.save(model, directory / "model.onnx")
    content = (directory / "model.onnx").read_bytes()
    card = ModelCard(
        schema=SCHEMA,
        name="m",
        version=version,
        files={"model.onnx": f"sha256:{hashlib.sha256(content).hexdigest()}"},
        inputs=[Tensor("x", "FP32", [-1, 1])],
        outputs=[Tensor("label", "INT64", [-1, 1]), Tensor("score", "FP32", [-1, 1])],
        example={
            "inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [0.1, 0.55]}]
        },
        source=Source("test"),
        metrics={"accuracy": 1 - threshold},
        **more,
    )
    (directory / "model.yaml").write_bytes(format_card(card))


def _load(root: Path, model: str) -> HostingSpec:
    path = root / "Pulumi.dev.yaml"
    path.write_text(f"config:\n  berth:platform: local\n  berth:models: {{m: {model}}}\n")
    return load_file(path)


@pytest.fixture
def specs(tmp_path: Path) -> tuple[HostingSpec, HostingSpec]:
    """A stack with version 1, and the same stack with half of the traffic on version 2."""
    _write_version(tmp_path, "1", 0.5)
    _write_version(tmp_path, "2", 0.6)
    before = _load(tmp_path, '{versions: {"1": {}}}')
    after = _load(tmp_path, '{versions: {"1": {}, "2": {}}, traffic: {"1": 50, "2": 50}}')
    return before, after


def _compare(
    root: Path, specs: tuple[HostingSpec, HostingSpec], rows: dict[str, Path] | None = None
) -> PredictionDiff:
    (diff,) = compare_versions(root, *specs, rows or {})
    return diff


def test_example_in_the_card_is_compared_without_a_file(
    tmp_path: Path, specs: tuple[HostingSpec, HostingSpec]
) -> None:
    diff = _compare(tmp_path, specs)
    assert (diff.model, diff.before, diff.after, diff.problem) == ("m", "1", "2", "")
    assert (diff.rows, diff.changed) == (2, 1)
    assert [(row.row, row.before, row.after) for row in diff.most_changed] == [
        (1, "1", "0"),
        (0, "0", "0"),
    ]
    assert (diff.metrics or {})["accuracy in the card"] == (0.5, 0.4)


@pytest.mark.parametrize("seed", range(5))
def test_planted_differences_are_all_found_and_the_share_is_in_the_interval(
    tmp_path: Path, specs: tuple[HostingSpec, HostingSpec], seed: int
) -> None:
    """Of uniform rows, a tenth lies between the two thresholds."""
    values = np.random.default_rng(seed).uniform(size=(1000, 1)).astype(np.float32)
    truth = (values > np.float32(0.5)).astype(np.int64)
    np.savez(tmp_path / "rows.npz", x=values, label=truth)
    diff = _compare(tmp_path, specs, {"m": tmp_path / "rows.npz"})
    planted = int(((values > np.float32(0.5)) & (values <= np.float32(0.6))).sum())
    assert (diff.rows, diff.changed) == (1000, planted)
    assert diff.interval[0] < 0.1 < diff.interval[1]
    assert (diff.metrics or {})["accuracy of label"] == (1.0, 1 - planted / 1000)
    labels, scores = diff.outputs
    assert (labels.name, labels.rows, scores.name, scores.rows) == ("label", planted, "score", 1000)
    assert scores.largest == pytest.approx(0.1, abs=1e-6)
    text = format_markdown(build_report(predictions=(diff,)))
    assert f"**{planted} of 1000 answers change**" in text
    assert "- accuracy of label: 1, then 0." in text


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"y": np.zeros((2, 1), np.float32)}, "has no input or output 'y'"),
        ({"x": np.zeros((2, 1)), "label": np.zeros((3, 1))}, "the same number of rows"),
        ({"x": np.zeros((2, 7), np.float32)}, "has shape [2, 7]"),
    ],
)
def test_rows_that_do_not_fit_are_reported_in_the_report(
    tmp_path: Path,
    specs: tuple[HostingSpec, HostingSpec],
    rows: dict[str, Any],
    problem: str,
) -> None:
    np.savez(tmp_path / "rows.npz", **rows)
    diff = _compare(tmp_path, specs, {"m": tmp_path / "rows.npz"})
    assert problem in diff.problem
    assert "Not compared:" in format_markdown(build_report(predictions=(diff,)))


def _captured(data: list[float | None], **more: Any) -> str:
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(data), 1], "data": data} | more
    line = {"captured_at": "2026-11-03T00:00:00.000+00:00", "inputs": [tensor], "outputs": []}
    return json.dumps(line) + "\n"


def test_captured_requests_are_compared_row_by_row(
    tmp_path: Path, specs: tuple[HostingSpec, HostingSpec]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(_captured([0.1, 0.55]) + _captured([0.58]) + _captured([None, 0.9]))
    diff = _compare(tmp_path, specs, {"m": path})
    assert (diff.problem, diff.rows, diff.changed, diff.source) == ("", 5, 2, "rows.jsonl")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_captured([0.1]) + _captured([], redacted=True), "line 2: the values of input"),
        (_captured([0.1], name="z"), "line 1: input 'x' is missing"),
        (_captured([0.1], shape=[3, 1]), "line 1 is not a captured request"),
        (_captured([0.1]) + "{", "line 2 is not a captured request"),
        ("", "contains no captured request"),
    ],
)
def test_file_without_usable_captured_requests_is_reported(
    tmp_path: Path, specs: tuple[HostingSpec, HostingSpec], text: str, problem: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    assert problem in _compare(tmp_path, specs, {"m": path}).problem


def test_version_that_does_not_exist_is_reported(
    tmp_path: Path, specs: tuple[HostingSpec, HostingSpec]
) -> None:
    (tmp_path / "models/m/1/model.yaml").unlink()
    assert "cannot read the model card" in _compare(tmp_path, specs).problem


def test_only_versions_that_gain_traffic_are_compared(tmp_path: Path) -> None:
    one = _load(tmp_path, '{versions: {"1": {}, "2": {}}, traffic: {"1": 90, "2": 10}}')
    less = _load(tmp_path, '{versions: {"1": {}, "2": {}}, traffic: {"1": 95, "2": 5}}')
    shadow = _load(
        tmp_path,
        '{versions: {"1": {}, "2": {}, "3": {}}, traffic: {"1": 90, "2": 10}, shadow: "3"}',
    )
    assert list_pairs(one, less) == []
    assert list_pairs(less, one) == [("m", "1", "2")]
    assert list_pairs(one, shadow) == [("m", "1", "3")]
    assert list_pairs(None, one) == []


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(10, 100, 0.0552, 0.1744), (0, 100, 0.0, 0.0370), (100, 100, 0.9630, 1.0), (0, 0, 0.0, 1.0)],
)
def test_interval_equals_published_values(count: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)


def test_interval_contains_the_true_share_in_95_of_100_samples() -> None:
    counts = np.random.default_rng(0).binomial(200, 0.03, size=4000)
    intervals = [wilson_interval(int(count), 200) for count in counts]
    covered = sum(low <= 0.03 <= high for low, high in intervals) / len(intervals)
    assert 0.93 < covered < 0.99


def test_highest_score_is_the_answer_of_a_model_without_labels() -> None:
    before = {"scores": np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)}
    after = {"scores": np.array([[0.6, 0.4], [0.6, 0.4]], np.float32)}
    result = compare_predictions(before, after)
    assert result.changed == 1
    assert [row.row for row in result.most_changed] == [1, 0]
    assert measure_quality(choose_answers(after), {"scores": np.array([0, 1])}) == {
        "accuracy of scores": 0.5
    }


def test_rounding_is_no_difference_and_nan_is_one() -> None:
    before = {"y": np.array([[1.0], [2.0], [3.0]], np.float32)}
    after = {"y": np.array([[1.000001], [np.nan], [3.0]], np.float32)}
    result = compare_predictions(before, after)
    assert (result.changed, result.outputs[0].rows) == (1, 1)
    assert result.most_changed[0].row == 1
    diff = PredictionDiff(
        model="m", before="1", after="2", rows=3, most_changed=result.most_changed
    )
    (document,) = as_json([diff])
    assert document["most_changed"][0]["difference"] is None
    json.dumps(document, allow_nan=False)


def test_outputs_of_another_shape_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"output 'y' has shape \[2, 1\], and then is \[2, 3\]"):
        compare_predictions({"y": np.zeros((2, 1))}, {"y": np.zeros((2, 3))})


def test_files_with_rows_are_matched_to_models(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    file.touch()
    assert match_rows([f"a={file}"], ["a", "b"]) == {"a": file}
    assert match_rows([str(file)], ["a", "b"]) == {"a": file, "b": file}
    with pytest.raises(PackageError, match="model 'c' is not in the configuration"):
        match_rows([f"c={file}"], ["a"])
    with pytest.raises(PackageError, match="is not a file"):
        match_rows([str(tmp_path / "other.npy")], ["a"])
