"""Packaging Hugging Face exports and safetensors: same predictions, and no code is run."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from berth.cli.main import main
from berth.operations.package import PackageError, package_model
from berth.packaging.formats import detect_framework
from berth_protocol.model_card import read_card

IDS = np.random.default_rng(0).integers(5, 90, (6, 12))
TOKENS = {"input_ids": IDS, "attention_mask": np.tril(np.ones_like(IDS), 6)}
IMAGES = {"pixel_values": np.random.default_rng(0).random((4, 3, 32, 32), np.float32)}
SIZE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2}
REASON = "transformers is not installed: pip install 'berth[transformers]'"


@pytest.fixture(scope="module")
def hugging_face() -> Any:
    pytest.importorskip("torch", reason=REASON)
    return pytest.importorskip("transformers", reason=REASON)


def _bert(module: Any) -> Any:
    config = module.BertConfig(vocab_size=100, intermediate_size=64, num_labels=3, **SIZE)
    return module.BertForSequenceClassification(config)


def _roberta(module: Any) -> Any:
    return module.RobertaModel(module.RobertaConfig(vocab_size=100, intermediate_size=64, **SIZE))


def _gpt(module: Any) -> Any:
    config = module.GPT2Config(
        vocab_size=100, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
    )
    return module.GPT2LMHeadModel(config)


def _vit(module: Any) -> Any:
    config = module.ViTConfig(image_size=32, patch_size=8, intermediate_size=64, **SIZE)
    return module.ViTForImageClassification(config)


MODELS: dict[str, tuple[Callable[[Any], Any], Any, set[str]]] = {
    "bert": (_bert, TOKENS, {"logits"}),
    "roberta": (_roberta, TOKENS, {"last_hidden_state", "pooler_output"}),
    "gpt2": (_gpt, TOKENS, {"logits"}),
    "vit": (_vit, IMAGES, {"logits"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_safetensors_and_model_object_give_same_signature(
    name: str, hugging_face: Any, tmp_path: Path
) -> None:
    make, rows, outputs = MODELS[name]
    model = make(hugging_face).eval()
    model.save_pretrained(tmp_path / "saved")
    packaged = package_model(tmp_path / "saved", rows=rows, name="m", version="1", into=tmp_path)
    assert {tensor.name for tensor in packaged.card.outputs} == outputs
    assert packaged.card.source.framework == "transformers"
    assert packaged.card.source.framework_version == hugging_face.__version__
    assert detect_framework(model) == "transformers"
    again = package_model(model, rows=rows, name="m", version="2", into=tmp_path)
    assert again.card.inputs == packaged.card.inputs


def test_number_of_tokens_is_dynamic(hugging_face: Any, tmp_path: Path) -> None:
    import torch

    model = _bert(hugging_face).eval()
    packaged = package_model(model, rows=TOKENS, name="m", version="1", into=tmp_path)
    assert [tensor.shape for tensor in packaged.card.inputs] == [[-1, -1], [-1, -1]]
    session = onnxruntime.InferenceSession(packaged.path / "model.onnx")
    for length in (1, 5, 40):
        ids = np.random.default_rng(length).integers(5, 90, (3, length))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        with torch.no_grad():
            want = model(**{key: torch.from_numpy(value) for key, value in feeds.items()}).logits
        np.testing.assert_allclose(session.run(None, feeds)[0], want.numpy(), atol=1e-5)


def _saved(module: Any, directory: Path) -> Path:
    _bert(module).save_pretrained(directory)
    return directory


def _drop(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def _pickle_instead(directory: Path) -> None:
    _drop(directory)
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def _pickle_within(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(pickle.dumps({"a": [1, 2, 3, 4, 5]}))


def _truncate(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _lose_a_weight(directory: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _configure(**more: Any) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return write


def _no_json(directory: Path) -> None:
    (directory / "config.json").write_text("{")


def _adapter(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop, "the directory has none of model.onnx"),
        (_pickle_instead, "a pickle, which Berth never loads"),
        (_pickle_within, "is a pickle"),
        (_truncate, "cannot load the model"),
        (_lose_a_weight, "another shape: classifier.weight"),
        (_no_json, "cannot read the file as JSON"),
        (_adapter, "contains an adapter"),
        (_configure(auto_map={"AutoModel": "modeling.Evil"}), "its own code, which Berth never"),
        (_configure(quantization_config={"bits": 4}), "weights are quantized"),
        (_configure(architectures=["Evil"]), "has no model Evil"),
        (_configure(architectures=["AutoConfig"]), "has no model AutoConfig"),
        (_configure(architectures=[]), "has no model None"),
        (
            _configure(num_labels=7, id2label={str(i): str(i) for i in range(7)}),
            "another shape|load",
        ),
    ],
)
def test_unsupported_directory_is_rejected(
    damage: Callable[[Path], None], message: str, hugging_face: Any, tmp_path: Path
) -> None:
    directory = _saved(hugging_face, tmp_path / "saved")
    damage(directory)
    with pytest.raises(PackageError, match=message):
        package_model(directory, rows=TOKENS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def _export(directory: Path, *, export_path: str = "model.onnx", scale: float = 2.0) -> Path:
    """Create a directory like optimum does, with a network that scales its input."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["numbers", "scale"], ["logits"]),
        ],
        "scaled",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens"])],
        [helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (directory / export_path).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / export_path)
    (directory / "config.json").write_text(json.dumps({"transformers_version": "5.0.0"}))
    return directory


@pytest.mark.parametrize("export_path", ["model.onnx", "onnx/model.onnx"])
def test_export_is_packaged_without_transformers(export_path: str, tmp_path: Path) -> None:
    directory = _export(tmp_path / "export", export_path=export_path)
    rows = {"input_ids": IDS, "logits": 2.0 * IDS}
    packaged = package_model(directory, rows=rows, name="m", version="1", into=tmp_path / "models")
    assert (packaged.path / "model.onnx").read_bytes() == (directory / export_path).read_bytes()
    assert packaged.card.source.framework == "transformers"
    assert packaged.card.source.framework_version == "5.0.0"
    assert packaged.notes == ()
    wrong = {"input_ids": IDS, "logits": 2.1 * IDS}
    with pytest.raises(PackageError, match="output 'logits': differs"):
        package_model(directory, rows=wrong, name="m", version="2", into=tmp_path / "models")


def test_pickle_as_export_is_rejected(tmp_path: Path) -> None:
    directory = _export(tmp_path / "export")
    (directory / "model.onnx").write_bytes(pickle.dumps({"a": [1, 2, 3, 4, 5]}))
    with pytest.raises(PackageError, match="is a pickle"):
        package_model(directory, rows=IDS, name="m", version="1", into=tmp_path / "models")


def test_export_with_weights_is_compared_with_transformers(
    hugging_face: Any, tmp_path: Path
) -> None:
    model = _bert(hugging_face).eval()
    model.save_pretrained(tmp_path / "saved")
    packaged = package_model(model, rows=TOKENS, name="m", version="1", into=tmp_path)
    export = tmp_path / "saved" / "model.onnx"
    export.write_bytes((packaged.path / "model.onnx").read_bytes())
    again = package_model(tmp_path / "saved", rows=TOKENS, name="m", version="2", into=tmp_path)
    assert (again.path / "model.onnx").read_bytes() == export.read_bytes()
    _bert(hugging_face).save_pretrained(tmp_path / "saved")  # Different weights.
    with pytest.raises(PackageError, match="output 'logits': differs"):
        package_model(tmp_path / "saved", rows=TOKENS, name="m", version="3", into=tmp_path)


def test_command_reports_that_tokenizer_is_not_packaged(tmp_path: Path) -> None:
    directory = _export(tmp_path / "export")
    for name in ("tokenizer.json", "vocab.txt"):
        (directory / name).write_text("{}")
    np.save(tmp_path / "rows.npy", IDS)
    arguments = ["--name", "m", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy"), "--json"]
    result = CliRunner().invoke(main, ["package", str(directory), *arguments])
    assert result.exit_code == 0, result.output
    assert "Not packaged: tokenizer.json, vocab.txt." in result.stderr
    assert json.loads(result.stdout)["rows_compared"] == len(IDS)
    assert set(read_card(tmp_path / "models" / "m" / "1").files) == {"model.onnx"}


def test_directory_without_config_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"the directory has no config\.json"):
        package_model(tmp_path, rows=IDS, name="m", version="1", into=tmp_path / "models")
