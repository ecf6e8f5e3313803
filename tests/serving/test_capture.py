"""Captured requests: a bounded sample in memory, for an operator who has the token."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from berth_serving.capture import Capture
from berth_serving.datatypes import DATATYPES
from berth_serving.model import ModelError, TensorSpec
from pulumi_berth.container_commands import build_get_with_token_command
from tests.serving.berth import run_berth, run_until_exit

_TOKEN = "a-token-of-this-test-long-enough"


class _Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def _create(**settings: Any) -> tuple[Capture, _Clock]:
    model: Any = SimpleNamespace(
        inputs={
            "x": TensorSpec("x", DATATYPES["FP32"], (None, 2)),
            "name": TensorSpec("name", DATATYPES["BYTES"], (None,)),
        },
        outputs={"y": TensorSpec("y", DATATYPES["FP32"], (None,))},
    )
    defaults = {
        "capture_percent": 100.0,
        "capture_redact": (),
        "capture_max_bytes": 1 << 20,
        "capture_keep_seconds": 60,
    }
    given: Any = SimpleNamespace(**(defaults | settings))
    clock = _Clock()
    return Capture(given, model, clock=clock, draw=lambda: 0.5), clock


def _observe(capture: Capture, number: float = 1.0, name: str = "Ann") -> None:
    capture.observe(
        {"x": np.array([[number, 2]], np.float32), "name": np.array([name], object)},
        {"y": np.array([3], np.float32)},
    )


def _lines(capture: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capture.render().splitlines()]


def test_captured_request_has_values_of_inputs_and_outputs() -> None:
    capture, _ = _create()
    _observe(capture)
    assert _lines(capture) == [
        {
            "captured_at": "2023-11-14T22:13:20.000+00:00",
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
                {"name": "name", "datatype": "BYTES", "shape": [1], "data": ["Ann"]},
            ],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [3.0]}],
        }
    ]


def test_values_of_redacted_tensors_are_not_captured() -> None:
    capture, _ = _create(capture_redact=("name", "y"))
    _observe(capture, name="Ann")
    assert b"Ann" not in capture.render()
    (line,) = _lines(capture)
    redacted = {t["name"] for t in (*line["inputs"], *line["outputs"]) if t.get("redacted")}
    assert redacted == {"name", "y"}


def test_redaction_of_unknown_tensor_is_rejected() -> None:
    with pytest.raises(ModelError, match="names nmae, which the model does not have"):
        _create(capture_redact=("nmae",))


def test_oldest_requests_are_deleted_beyond_the_limit() -> None:
    capture, _ = _create(capture_max_bytes=2000)
    for number in range(100):
        _observe(capture, number)
    assert len(capture.render()) <= 2000
    assert _lines(capture)[-1]["inputs"][0]["data"][0] == 99.0


def test_request_is_deleted_after_its_time() -> None:
    capture, clock = _create()
    _observe(capture)
    clock.now += 61
    assert capture.render() == b""


def test_request_that_is_not_in_the_sample_is_not_captured() -> None:
    capture, _ = _create(capture_percent=49.0)
    _observe(capture)
    assert capture.render() == b""


def test_large_request_is_not_captured() -> None:
    capture, _ = _create()
    _observe(capture, name="x" * 100_000)
    assert capture.render() == b""


def test_captured_requests_of_berth_need_its_token(
    echo_model: Path, log: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(_TOKEN)
    settings = {"token_file": str(token), "capture_percent": "100", "capture_redact": '["b"]'}
    pair = {"datatype": "FP32", "shape": [1, 2]}
    request = {
        "inputs": [
            {"name": "a", **pair, "data": [4, 5]},
            {"name": "b", **pair, "data": [71717, 6]},
        ]
    }
    with run_berth(echo_model, log, **settings) as berth:
        headers = {"x-berth-token": _TOKEN}
        assert berth.infer(request, headers=headers).status_code == 200
        assert berth.client.get("/captured-requests").status_code == 401
        command = build_get_with_token_command(berth.port, "/captured-requests", str(token))
        printed = subprocess.run(
            [sys.executable, *command[1:]], capture_output=True, text=True, check=True
        ).stdout
        response = berth.client.get("/captured-requests", headers=headers)
        assert printed == response.text
        assert response.headers["cache-control"] == "no-store"
        (line,) = [json.loads(text) for text in response.text.splitlines()]
        assert line["inputs"][0]["data"] == [4.0, 5.0]
        assert line["inputs"][1]["redacted"]
        assert "71717" not in log.read_text()


def test_berth_without_token_shows_no_captured_requests(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log, capture_percent="100") as berth:
        assert berth.client.get("/captured-requests").status_code == 403


def test_berth_without_capture_has_no_page(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log) as berth:
        assert berth.client.get("/captured-requests").status_code == 404


@pytest.mark.parametrize(
    ("redact", "message"),
    [('["c"]', "which the model does not have"), ("name", "must be a JSON list of names")],
)
def test_invalid_redaction_prevents_start(
    echo_model: Path, log: Path, redact: str, message: str
) -> None:
    _, text = run_until_exit(echo_model, log, capture_percent="1", capture_redact=redact)
    assert message in text
