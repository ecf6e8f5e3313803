"""Capture of requests: its settings, and the file that `berth capture` writes."""

import json
from pathlib import Path
from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.capture import merge_lines, read_captured, write_captured
from berth.platforms.hosted_models import build_models
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec, SpecError, load_file
from berth.spec.model_files import check_models
from tests.repository import REPOSITORY


def _load(tmp_path: Path, model: str) -> HostingSpec:
    path = tmp_path / "Pulumi.local.yaml"
    path.write_text(f"config:\n  berth:platform: local\n  berth:models:\n    digits: {model}\n")
    return load_file(path)


def _read_environment(spec: HostingSpec) -> dict[str, str]:
    serving = build_models(spec, REPOSITORY)["digits"].serving
    assert serving is not None
    return serving.environment()


def test_capture_is_off_by_default(tmp_path: Path) -> None:
    environment = _read_environment(_load(tmp_path, '{versions: {"1": {}}}'))
    assert not [name for name in environment if name.startswith("BERTH_CAPTURE")]


def test_settings_of_the_capture_reach_the_berth(tmp_path: Path) -> None:
    capture = "{percent: 2.5, redact: [input], max_bytes: 2048, keep_seconds: 60}"
    spec = _load(tmp_path, f'{{versions: {{"1": {{}}}}, capture: {capture}}}')
    environment = _read_environment(spec)
    assert {name: value for name, value in environment.items() if "CAPTURE" in name} == {
        "BERTH_CAPTURE_PERCENT": "2.5",
        "BERTH_CAPTURE_REDACT": json.dumps(["input"]),
        "BERTH_CAPTURE_MAX_BYTES": "2048",
        "BERTH_CAPTURE_KEEP_SECONDS": "60",
    }


def test_capture_with_several_workers_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot be combined with 2 serving\.workers"):
        _load(tmp_path, '{versions: {"1": {}}, capture: {percent: 1}, serving: {workers: 2}}')


def test_redaction_of_unknown_tensor_is_rejected(tmp_path: Path) -> None:
    spec = _load(tmp_path, '{versions: {"1": {}}, capture: {redact: [pixels]}}')
    with pytest.raises(SpecError, match="'pixels' is no input or output of version 1"):
        check_models(spec, REPOSITORY)


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("digits", "1", "captures no requests. Set berth:models.digits.capture.percent"),
        ("digits", "9", "has no version 9 of digits"),
        ("wine", "1", "has no version 1 of wine. It has: digits 1"),
    ],
)
def test_version_without_capture_is_reported(
    tmp_path: Path, model: str, version: str, message: str
) -> None:
    spec = _load(tmp_path, '{versions: {"1": {}}}')
    context = StackContext(root=tmp_path, stack="local", spec=spec)
    with pytest.raises(OperationError, match=message):
        read_captured(context, {}, model, version)


def test_berth_that_does_not_respond_is_reported(tmp_path: Path) -> None:
    spec = _load(tmp_path, '{versions: {"1": {}}, capture: {percent: 1}}')
    context = StackContext(root=tmp_path, stack="local", spec=spec)
    token = tmp_path / ".berth/run/local/token"
    token.parent.mkdir(parents=True)
    token.write_text("a token of this test")
    berth: dict[str, Any] = {"url": "http://127.0.0.1:1"}
    outputs: dict[str, Any] = {"models": {"digits": {"versions": {"1": berth}}}}
    with pytest.raises(OperationError, match="No replica of digits 1 responded"):
        read_captured(context, outputs, "digits", "1")


def test_requests_of_replicas_are_in_the_order_of_time() -> None:
    one = '{"captured_at":"2026-11-03T00:00:02"}\n{"captured_at":"2026-11-03T00:00:04"}\n'
    other = '{"captured_at":"2026-11-03T00:00:03"}\n'
    times = [json.loads(line)["captured_at"][-1] for line in merge_lines([one, "", other])]
    assert times == ["2", "3", "4"]


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("earlier content")
    path.chmod(0o644)
    write_captured(["{}"], path)
    assert path.read_text() == "{}\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="Choose another file with --out"):
        write_captured([], tmp_path / "missing" / "rows.jsonl")
