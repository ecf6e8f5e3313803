"""Two packaged models whose requests contain text: a tokenizer's, and a library of operators'."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from berth.operations.package import package_model
from tests.text_folder import define_pooling, prove_few_texts, write_folder

SENTENCES = "sentences"
"""A directory as sentence-transformers writes it. Input `text`, output `sentence_embedding`."""
UPPER = "upper"
"""A model that needs the library onnxruntime-extensions. Input `x`, output `y`."""

_PROVEN_TEXTS = 50


def package_text_models(into: Path, scratch: Path) -> None:
    """Package version 1 of both models, comparing few texts."""
    folder = write_folder(scratch / "folder", **define_pooling("mean_tokens"))
    upper = write_library_model(scratch / "upper.onnx")
    with pytest.MonkeyPatch.context() as patch:
        prove_few_texts(patch, _PROVEN_TEXTS)
        package_model(
            folder, rows=["Run!", "It's the cafe"], name=SENTENCES, version="1", into=into
        )
    package_model(upper, rows=["a", "b"], name=UPPER, version="1", into=into)


def write_library_model(path: Path) -> Path:
    """Write a model that turns text into upper case with an operator of onnxruntime-extensions."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")],
        "g",
        [info("x", TensorProto.STRING, ["rows"])],
        [info("y", TensorProto.STRING, ["rows"])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def build_text_request(name: str, texts: list[str]) -> dict[str, Any]:
    """Return an inference request whose input `name` contains `texts`."""
    entry = {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {"inputs": [entry]}
