"""Models of every form are packaged: with and without rows, with large and with missing values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import helper

from berth.cli.main import main
from berth.operations.package import PackagedModel, PackageError, package_model
from berth_protocol.model_card import example_body, read_card, verify_files
from tests import small_models
from tests.small_models import SmallModel


def _package(model: SmallModel, into: Path, **options: Any) -> PackagedModel:
    proto, inputs = model
    return package_model(proto, rows=inputs, name="m", version="1", into=into, **options)


@pytest.mark.parametrize(("build", "reason"), small_models.WITHOUT_ROWS.items())
def test_model_without_rows_keeps_its_inputs_as_example(
    build: Callable[[], SmallModel], reason: str, tmp_path: Path
) -> None:
    model = build()
    result = _package(model, tmp_path)
    assert result.card.has_rows is False
    assert result.card.no_rows_reason.startswith(reason)
    assert result.rows is None
    assert "has no independent rows" in result.notes[-1]
    shapes = {entry["name"]: entry["shape"] for entry in result.card.example["inputs"]}
    assert shapes == {name: list(array.shape) for name, array in model[1].items()}


@pytest.mark.parametrize("build", small_models.WITH_ROWS)
def test_model_with_rows_is_recognized(build: Callable[[], SmallModel], tmp_path: Path) -> None:
    model = build()
    result = _package(model, tmp_path)
    assert result.card.has_rows is True
    assert result.rows == len(model[1]["x"])


def test_statement_about_rows_overrides_what_runs_show(tmp_path: Path) -> None:
    result = _package(small_models.optional_input(), tmp_path, has_rows=False)
    assert (result.card.has_rows, result.rows) == (False, None)
    assert result.card.example["inputs"][0]["shape"] == [3, 2]


def test_size_of_output_that_runs_cannot_show_can_be_stated(tmp_path: Path) -> None:
    result = _package(small_models.wrong_declared_shape(), tmp_path, has_rows=True)
    assert (result.card.has_rows, result.rows) == (True, 4)


def test_false_statement_about_rows_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"rows are not independent: output 'attention' differs"):
        _package(small_models.tokens(), tmp_path, has_rows=True)
    assert list(tmp_path.iterdir()) == []


def test_card_of_large_example_is_small(tmp_path: Path) -> None:
    model = small_models.large_image()
    result = _package(model, tmp_path)
    card = read_card(result.path)
    verify_files(result.path, card)
    assert (result.path / "model.yaml").stat().st_size < 2048
    assert set(card.files) == {"model.onnx", "example.bin"}
    body, header_length = example_body(result.path, card)
    assert header_length is not None
    assert body[header_length:] == model[1]["images"].tobytes()


def test_example_of_large_rows_is_one_row(tmp_path: Path) -> None:
    proto = small_models.build(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)],
        {"x": (onnx.TensorProto.FLOAT, ["n", 300_000])},
        {"y": (onnx.TensorProto.FLOAT, ["n"])},
    )
    rows = np.random.default_rng(0).normal(size=(4, 300_000)).astype(np.float32)
    result = _package((proto, {"x": rows}), tmp_path)
    assert result.rows == 4
    assert result.card.example["inputs"][0]["shape"] == [1, 300_000]


def test_rows_without_missing_values_are_preferred_for_example(tmp_path: Path) -> None:
    proto, inputs = small_models.only_missing_values()
    finite = np.array([[5, 6]], np.float32)
    rows = np.concatenate([inputs["x"], np.full((1, 2), np.inf, np.float32), finite])
    result = _package((proto, {"x": rows}), tmp_path)
    assert result.card.example["inputs"][0]["data"] == [5.0, 6.0]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (small_models.only_missing_values, [np.nan, 1, 2, np.nan]),
        (small_models.infinite_values, [np.inf, 1, 2, -np.inf]),
    ],
)
def test_example_with_value_that_json_does_not_have_is_in_file(
    model: Callable[[], SmallModel], expected: list[float], tmp_path: Path
) -> None:
    result = _package(model(), tmp_path)
    body, header_length = example_body(result.path, result.card)
    np.testing.assert_array_equal(np.frombuffer(body[header_length:], np.float32), expected)


def test_constants_of_old_model_do_not_become_inputs(tmp_path: Path) -> None:
    model = small_models.old_ir_version()
    result = _package(model, tmp_path)
    assert [tensor.name for tensor in result.card.inputs] == ["x"]
    assert "IR version was raised from 3 to 4" in result.notes[0]
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    original = onnxruntime.InferenceSession(model[0].SerializeToString())
    assert [value.name for value in session.get_overridable_initializers()] == []
    np.testing.assert_array_equal(session.run(None, model[1])[0], original.run(None, model[1])[0])


def test_input_with_default_is_optional(tmp_path: Path) -> None:
    proto, inputs = small_models.optional_input()
    result = _package((proto, inputs), tmp_path / "omitted")
    assert [(t.name, t.optional) for t in result.card.inputs] == [("x", False), ("scale", True)]
    assert [entry["name"] for entry in result.card.example["inputs"]] == ["x"]
    sent = inputs | {"scale": np.array([5], np.float32), "y": inputs["x"] * 5}
    _package((proto, sent), tmp_path / "sent")
    with pytest.raises(PackageError, match="output 'y': differs by"):
        _package((proto, sent | {"y": inputs["x"] * 2}), tmp_path / "wrong")


def test_weights_that_are_listed_as_inputs_are_not_inputs(tmp_path: Path) -> None:
    count = 17
    nodes = [
        helper.make_node("Add", ["x" if i == 0 else f"t{i}", f"w{i}"], [f"t{i + 1}"])
        for i in range(count)
    ]
    weights: dict[str, Any] = {f"w{i}": np.ones(2, np.float32) for i in range(count)}
    inputs: dict[str, tuple[int, list[Any]]] = {
        "x": (onnx.TensorProto.FLOAT, ["n", 2]),
        **{name: (onnx.TensorProto.FLOAT, [2]) for name in weights},
    }
    outputs: dict[str, tuple[int, list[Any]]] = {f"t{count}": (onnx.TensorProto.FLOAT, ["n", 2])}
    proto = small_models.build(nodes, inputs, outputs, weights)
    rows = {"x": np.ones((3, 2), np.float32)}
    result = _package((proto, rows), tmp_path / "none")
    assert [tensor.name for tensor in result.card.inputs] == ["x"]
    given = rows | {"w3": np.array([5, 5], np.float32)}
    result = _package((proto, given), tmp_path / "given")
    assert [(t.name, t.optional) for t in result.card.inputs] == [("x", False), ("w3", True)]


def test_empty_table_is_rejected(tmp_path: Path) -> None:
    proto, inputs = small_models.optional_input()
    with pytest.raises(PackageError, match=r"every array is empty \(x \[0, 2\]\)"):
        _package((proto, {"x": inputs["x"][:0]}), tmp_path)


def test_command_reports_model_without_rows(tmp_path: Path) -> None:
    proto, inputs = small_models.tokens()
    onnx.save(proto, tmp_path / "tokens.onnx")
    np.save(tmp_path / "tokens.npy", inputs["tokens"])
    arguments = ["package", str(tmp_path / "tokens.onnx"), "--name", "m", "--version", "1"]
    arguments += ["--rows", str(tmp_path / "tokens.npy"), "--into", str(tmp_path / "models")]
    refused = CliRunner().invoke(main, [*arguments, "--has-rows"])
    assert refused.exit_code == 2
    assert "Package it without --has-rows" in refused.output
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Compared predictions for the given inputs." in result.output
