"""The example of a version as a request: `invoke`, the printed curl command and body limits."""

import io
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from berth.errors import OperationError
from berth.operations import lifecycle
from berth.operations.invoke import read_example
from berth.operations.package import package_model
from berth.operations.serving_check import request_examples
from berth.spec import HostingSpec, SpecError, load_file
from berth.spec.model_files import check_models
from tests import small_models
from tests.unit.spec_file import changed, config_of

_OUTPUTS = {"endpoint": "http://127.0.0.1:1", "api_keys": {"default": "k" * 24}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a project whose only model takes an image of 4.9 MB."""
    proto, inputs = small_models.large_image()
    package_model(proto, rows=inputs, name="large", version="1", into=tmp_path / "models")
    return tmp_path


def _write_config(project: Path, **changes: object) -> Path:
    path = project / "Pulumi.local.yaml"
    models = {"large": {"versions": {"1": {}}, "traffic": {"1": 100}}}
    path.write_text(changed(config_of("local"), {"models": models, **changes}))
    return path


def test_own_container_has_the_example_that_its_key_names(project: Path) -> None:
    image = f"example.com/own/server@sha256:{'a' * 64}"
    path = project / "Pulumi.x.yaml"

    def write(**container: str) -> HostingSpec:
        own = {"versions": {"1": {"container": {"image": image, **container}}}}
        document = {"platform": "kubernetes", "registry": {"url": "r.example.com/berth"}}
        config = {
            f"berth:{key}": value for key, value in (document | {"models": {"own": own}}).items()
        }
        path.write_text(json.dumps({"config": config}))
        return load_file(path)

    spec = write()
    check_models(spec, project)
    with pytest.raises(
        OperationError, match=r"or set models\.own\.versions\.1\.container\.example"
    ):
        read_example(project, "x", "own", "1", lambda: spec)
    assert request_examples(project, "x", spec, _OUTPUTS) == {}
    spec = write(example="request.json")
    with pytest.raises(SpecError, match=r"container\.example: cannot be read \(No such file"):
        check_models(spec, project)
    (project / "request.json").write_text("[]")
    with pytest.raises(SpecError, match="is not a JSON object; write an inference request"):
        check_models(spec, project)
    (project / "request.json").write_text('{"inputs": []}')
    check_models(spec, project)
    assert read_example(project, "x", "own", "1", lambda: spec).content == b'{"inputs": []}'


def test_build_context_needs_a_dockerfile(project: Path) -> None:
    own = {"versions": {"1": {"container": {"context": "server"}}}}
    path = project / "Pulumi.x.yaml"
    path.write_text(changed(config_of("kubernetes"), {"models": {"own": own}}))
    spec = load_file(path)
    with pytest.raises(SpecError, match=r"container\.context: .*/server contains no Dockerfile"):
        check_models(spec, project)
    (project / "server").mkdir()
    (project / "server" / "Dockerfile").write_text("FROM scratch\n")
    check_models(spec, project)


def test_printed_command_and_request_of_large_example_use_its_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def post(_session: requests.Session, _url: str, **options: Any) -> requests.Response:
        sent.append(options)
        response = requests.Response()
        response.status_code = 200
        response.raw = io.BytesIO(json.dumps({"outputs": [0.5] * 100_000}).encode())
        return response

    monkeypatch.setattr(requests.Session, "post", post)
    monkeypatch.chdir(project)
    spec = load_file(_write_config(project))
    responses = request_examples(project, "local", spec, _OUTPUTS)
    text = lifecycle.format_first_call(_OUTPUTS, responses, stack="local", command="berth")
    assert len(text) < 4096
    (command,) = [line for line in text.splitlines() if line.startswith("curl")]
    words = shlex.split(command)
    assert "@models/large/1/example.bin" in words
    assert words[words.index("@models/large/1/example.bin") - 1] == "--data-binary"
    body = (project / "models" / "large" / "1" / "example.bin").read_bytes()
    length = len(body) - 4 * 3 * 640 * 640
    assert f"inference-header-content-length: {length}" in words
    assert sent[0]["data"] == body
    assert sent[0]["headers"]["inference-header-content-length"] == str(length)


def test_example_whose_file_is_missing_is_reported(project: Path) -> None:
    _write_config(project)
    (project / "models" / "large" / "1" / "example.bin").unlink()
    with pytest.raises(OperationError, match=r"example\.bin: cannot read the example"):
        read_example(
            project, "local", "large", "1", lambda: load_file(project / "Pulumi.local.yaml")
        )


@pytest.mark.parametrize("key", ["models.large.serving.max_body_bytes", "gateway.max_body_bytes"])
def test_body_limit_that_is_too_small_for_one_request_is_reported(key: str, project: Path) -> None:
    path = _write_config(project, **{key: 4_000_000})
    with pytest.raises(SpecError) as caught:
        check_models(load_file(path), project, path)
    (problem,) = caught.value.problems
    assert f"berth:{key}: 4000000 is too small for a request to large 1" in problem
    assert "set it to more than 4915200" in problem
    check_models(load_file(_write_config(project, **{key: 5_000_000})), project)


def test_body_limit_counts_one_row_of_several(tmp_path: Path) -> None:
    proto, _ = small_models.optional_input()
    rows = {"x": np.zeros((2, 2), np.float32)}
    package_model(proto, rows=rows, name="large", version="1", into=tmp_path / "models")
    limits = {"models.large.serving.max_body_bytes": 1024}
    check_models(load_file(_write_config(tmp_path, **limits)), tmp_path)
