"""Text in a berth: the tokenizer of a packaged model, its limits, and libraries of operators."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from tokenizers import Tokenizer

from berth.operations.package import package_model
from tests.serving.berth import Berth, run_berth, run_until_exit
from tests.text_folder import prove_few_texts, write_folder
from tests.text_models import write_library_model

LIBRARY = "onnxruntime-extensions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("hf") / "model", tokenizer_config={})


@pytest.fixture(scope="module")
def text_berth(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A berth that returns the token IDs of a text."""
    into = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        prove_few_texts(patch, 50)
        packaged = package_model(folder, name="m", version="1", into=into)
    with run_berth(packaged.path, into / "log") as berth:
        yield berth


def _ask(berth: Berth, data: list[str]) -> Any:
    entry = {"name": "text", "datatype": "BYTES", "shape": [len(data)], "data": data}
    outputs = [{"name": "input_ids"}, {"name": "attention_mask"}]
    return berth.infer({"inputs": [entry], "outputs": outputs})


def _read_ids(response: Any) -> list[list[int]]:
    assert response.status_code == 200, response.text
    ids, mask = (np.array(o["data"]).reshape(o["shape"]) for o in response.json()["outputs"])
    return [row[kept > 0].tolist() for row, kept in zip(ids, mask, strict=True)]


def test_texts_of_a_request_have_hugging_faces_token_ids(text_berth: Berth, folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(32)
    texts = ["Unhappy \u4e2d\u6587!", "", "a\0b", "[SEP] run\u0301ning", "run " * 99, "z" * 65536]

    response = _ask(text_berth, texts)

    assert _read_ids(response) == [tokenizer.encode(text).ids for text in texts]


def test_text_in_binary_form_has_the_same_token_ids(text_berth: Berth) -> None:
    texts = ["Unhappy \u4e2d\u6587!", ""]
    parts = [len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts]
    data = b"".join(parts)
    entry: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [2]}
    entry["parameters"] = {"binary_data_size": len(data)}
    outputs = [{"name": "input_ids"}, {"name": "attention_mask"}]
    header = json.dumps({"inputs": [entry], "outputs": outputs}).encode()

    response = text_berth.infer(
        header + data,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )

    assert _read_ids(response) == _read_ids(_ask(text_berth, texts))


@pytest.mark.parametrize("element", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"a\xe2\x82"])
def test_text_that_is_not_utf_8_is_rejected(element: bytes, text_berth: Berth) -> None:
    data = len(element).to_bytes(4, "little") + element
    entry: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [1]}
    header = json.dumps(
        {"inputs": [entry | {"parameters": {"binary_data_size": len(data)}}]}
    ).encode()
    binary = text_berth.infer(
        header + data,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    body = json.dumps({"inputs": [entry | {"data": ["?"]}]}).encode().replace(b"?", element)
    plain = text_berth.infer(body)

    assert (binary.status_code, plain.status_code) == (400, 400)


def test_lone_surrogate_in_json_is_rejected(text_berth: Berth) -> None:
    body = '{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}'

    assert text_berth.infer(body.encode()).status_code == 400


def test_text_that_is_too_long_is_rejected_with_its_size(text_berth: Berth) -> None:
    response = _ask(text_berth, ["short", "\u4e2d" * 21846])

    assert response.status_code == 413
    assert "element 1 has 65538 bytes of text; the maximum is 65536" in response.json()["error"]


def _has_loaded_library(berth: Berth) -> bool:
    process = psutil.Process(berth.process.pid)
    files = [m.path for p in (process, *process.children(True)) for m in p.memory_maps()]
    return any("onnxruntime_extensions" in file for file in files)


def test_library_of_operators_is_named_in_card_and_loaded(tmp_path: Path, log: Path) -> None:
    model = write_library_model(tmp_path / "model.onnx")
    packaged = package_model(
        model, rows=["a", "b"], name="m", version="1", into=tmp_path / "models"
    )

    assert list(packaged.card.operators) == [LIBRARY]
    with run_berth(packaged.path, log) as berth:
        entry = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["abc"]}
        response = berth.infer({"inputs": [entry]})
        assert response.json()["outputs"][0]["data"] == ["ABC"]
        if sys.platform == "linux":  # Only there can a process list what it has loaded.
            assert _has_loaded_library(berth)


@pytest.mark.skipif(sys.platform != "linux", reason="lists the loaded files of a process")
def test_library_is_not_loaded_for_model_that_does_not_need_it(text_berth: Berth) -> None:
    assert not _has_loaded_library(text_berth)


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ({}, "cannot load the model"),
        ({LIBRARY: "0.0.1"}, "packaged with onnxruntime-extensions 0.0.1"),
        ({"evil-operators": "1"}, "'evil-operators' is unknown"),
    ],
)
def test_berth_loads_only_libraries_in_card(
    operators: dict[str, str], message: str, tmp_path: Path, log: Path
) -> None:
    model = write_library_model(tmp_path / "model.onnx")
    packaged = package_model(
        model, rows=["a", "b"], name="m", version="1", into=tmp_path / "models"
    )
    path = packaged.path / "model.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"operators": operators}))

    status, logged = run_until_exit(packaged.path, log)

    assert status == 3
    assert message in logged
