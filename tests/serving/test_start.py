"""What keeps a berth from starting: one line, a status of its own, and it never listened."""

import socket
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from berth_protocol.model_card import file_sha256
from tests.serving.berth import identity, refused, running, start


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model_dir", "/nowhere", "BERTH_MODEL_DIR='/nowhere': is not a directory"),
        ("port", "80000", "BERTH_PORT='80000': must be a whole number from 1 to 65535"),
        ("threads", "0", "BERTH_THREADS='0'"),
        ("threads", "two", "BERTH_THREADS='two'"),
        ("deadline_seconds", "nan", "BERTH_DEADLINE_SECONDS='nan'"),
        ("spinning", "yes", "BERTH_SPINNING='yes': must be true or false"),
        ("log_level", "loud", "must be one of debug, info, warning, error"),
    ],
)
def test_setting(echo: Path, log: Path, name: str, value: str, said: str) -> None:
    status, logged = refused(echo, log, **{name: value})
    assert status == 2
    assert said in logged
    assert len(logged.splitlines()) == 1


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), (" \n", "is empty")])
def test_token_that_is_not_there(
    echo: Path, log: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    """A berth that is to ask for a token must not start open."""
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    status, logged = refused(echo, log, token_file=str(token))
    assert status == 2
    assert said in logged
    assert len(logged.splitlines()) == 1


def test_model_that_was_tampered_with(tmp_path: Path, log: Path) -> None:
    model = identity(tmp_path / "model", "FP32", ["n"], [1.0])
    path = model / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    status, logged = refused(model, log)
    assert status == 3
    assert "model.onnx: is sha256:" in logged
    assert len(logged.splitlines()) == 1


@pytest.mark.parametrize("name", ["model.onnx", "model.yaml"])
def test_file_that_is_missing(tmp_path: Path, log: Path, name: str) -> None:
    model = identity(tmp_path / "model", "FP32", ["n"], [1.0])
    (model / name).unlink()
    status, logged = refused(model, log)
    assert status == 3
    assert name in logged


def _again(model: Path) -> None:
    """Make the card's sha256 true."""
    card = model / "model.yaml"
    lines = card.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "model.onnx:" in line)
    lines[at] = f"  model.onnx: {file_sha256(model / 'model.onnx')}"
    card.write_text("\n".join(lines))


def test_model_that_onnxruntime_does_not_take(tmp_path: Path, log: Path) -> None:
    model = identity(tmp_path / "model", "FP32", ["n"], [1.0])
    (model / "model.onnx").write_bytes(b"nonsense")
    _again(model)
    status, logged = refused(model, log)
    assert status == 3
    assert "onnxruntime does not load it" in logged


def test_card_that_differs_from_the_model(tmp_path: Path, log: Path) -> None:
    model = identity(tmp_path / "model", "FP32", ["n"], [1.0])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n"])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        model / "model.onnx",
    )
    _again(model)
    status, logged = refused(model, log)
    assert status == 3
    assert "FP32" in logged
    assert "FP64" in logged


def test_example_that_the_model_does_not_answer(tmp_path: Path, log: Path) -> None:
    model = identity(tmp_path / "model", "FP32", ["n"], [1.0])
    card = model / "model.yaml"
    card.write_text(card.read_text().replace("- 1.0", "- one"))
    status, logged = refused(model, log)
    assert status == 3
    assert "example" in logged


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_in_use(echo: Path, log: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(echo, log, port, workers=workers)
        assert process.wait(timeout=30) == 4
    assert f"port {port} of 127.0.0.1 is in use" in log.read_text()
    assert len(log.read_text().splitlines()) == 1


def test_two_berths_never_share_a_port(echo: Path, log: Path, tmp_path: Path) -> None:
    with running(echo, log, workers="2") as berth:
        second = start(echo, tmp_path / "second", berth.port, workers="2")
        assert second.wait(timeout=30) == 4


def test_unknown_execution_provider(echo: Path, log: Path) -> None:
    status, logged = refused(echo, log, execution_providers="NoSuchProvider")
    assert status == 3
    assert "CPUExecutionProvider" in logged


def test_batches_of_a_model_without_rows(tmp_path: Path, log: Path) -> None:
    model = identity(tmp_path / "model", "FP32", [2], [1.0, 2.0])
    status, logged = refused(model, log, batch_size="4")
    assert status == 3
    assert "batch_size must be 1" in logged
