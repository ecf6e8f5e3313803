"""A berth that cannot start logs one line, exits with its own status and never listens."""

import socket
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from berth_protocol.model_card import file_sha256
from tests.serving.berth import run_berth, run_until_exit, start_berth, write_identity_model


@pytest.mark.parametrize(
    ("name", "value", "expected"),
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
def test_invalid_setting_prevents_start(
    echo_model: Path, log: Path, name: str, value: str, expected: str
) -> None:
    status, logged = run_until_exit(echo_model, log, **{name: value})
    assert status == 2
    assert expected in logged
    assert len(logged.splitlines()) == 1


@pytest.mark.parametrize(("content", "expected"), [(None, "cannot be read"), (" \n", "is empty")])
def test_missing_token_file_prevents_start(
    echo_model: Path, log: Path, tmp_path: Path, content: str | None, expected: str
) -> None:
    """A berth that must check a token must not start without one."""
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    status, logged = run_until_exit(echo_model, log, token_file=str(token))
    assert status == 2
    assert expected in logged
    assert len(logged.splitlines()) == 1


def test_changed_model_file_prevents_start(tmp_path: Path, log: Path) -> None:
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])
    path = model / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    status, logged = run_until_exit(model, log)
    assert status == 3
    assert "model.onnx: is sha256:" in logged
    assert len(logged.splitlines()) == 1


@pytest.mark.parametrize("name", ["model.onnx", "model.yaml"])
def test_missing_file_prevents_start(tmp_path: Path, log: Path, name: str) -> None:
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])
    (model / name).unlink()
    status, logged = run_until_exit(model, log)
    assert status == 3
    assert name in logged


def _update_checksum(model: Path) -> None:
    """Write the checksum of the changed model into the card."""
    card = model / "model.yaml"
    lines = card.read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if "model.onnx:" in line)
    lines[index] = f"  model.onnx: {file_sha256(model / 'model.onnx')}"
    card.write_text("\n".join(lines))


def test_invalid_onnx_file_prevents_start(tmp_path: Path, log: Path) -> None:
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])
    (model / "model.onnx").write_bytes(b"nonsense")
    _update_checksum(model)
    status, logged = run_until_exit(model, log)
    assert status == 3
    assert "ONNX Runtime cannot load the model" in logged


def test_card_that_differs_from_model_prevents_start(tmp_path: Path, log: Path) -> None:
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])
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
    _update_checksum(model)
    status, logged = run_until_exit(model, log)
    assert status == 3
    assert "FP32" in logged
    assert "FP64" in logged


def test_invalid_example_prevents_start(tmp_path: Path, log: Path) -> None:
    model = write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0])
    card = model / "model.yaml"
    card.write_text(card.read_text().replace("- 1.0", "- one"))
    status, logged = run_until_exit(model, log)
    assert status == 3
    assert "example" in logged


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_in_use_prevents_start(echo_model: Path, log: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = start_berth(echo_model, log, port, workers=workers)
        assert process.wait(timeout=120) == 4
    assert f"Port {port} on 127.0.0.1 is in use" in log.read_text()
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.slow
def test_second_berth_with_workers_does_not_share_port(
    echo_model: Path, log: Path, tmp_path: Path
) -> None:
    with run_berth(echo_model, log, workers="2") as berth:
        second = start_berth(echo_model, tmp_path / "second", berth.port, workers="2")
        assert second.wait(timeout=120) == 4


def test_unknown_execution_provider_prevents_start(echo_model: Path, log: Path) -> None:
    status, logged = run_until_exit(echo_model, log, execution_providers="NoSuchProvider")
    assert status == 3
    assert "CPUExecutionProvider" in logged
