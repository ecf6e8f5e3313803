"""Hugging Face: exports and safetensors answer as transformers does; nothing of theirs is run."""

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
from berth.packaging.formats import framework_of
from berth_protocol.model_card import read_card

IDS = np.random.default_rng(0).integers(5, 90, (6, 12))
TOKENS = {"input_ids": IDS, "attention_mask": np.tril(np.ones_like(IDS), 6)}
IMAGES = {"pixel_values": np.random.default_rng(0).random((4, 3, 32, 32), np.float32)}
SIZE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2}
REASON = "transformers is not installed: pip install -r requirements-package-transformers.txt"


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
def test_safetensors_and_model_in_memory(name: str, hugging_face: Any, tmp_path: Path) -> None:
    make, rows, outputs = MODELS[name]
    model = make(hugging_face).eval()
    model.save_pretrained(tmp_path / "saved")
    made = package_model(tmp_path / "saved", rows=rows, name="m", version="1", into=tmp_path)
    assert {tensor.name for tensor in made.card.outputs} == outputs
    assert made.card.source.framework == "transformers"
    assert made.card.source.framework_version == hugging_face.__version__
    assert framework_of(model) == "transformers"
    again = package_model(model, rows=rows, name="m", version="2", into=tmp_path)
    assert again.card.inputs == made.card.inputs


def test_number_of_tokens_is_free(hugging_face: Any, tmp_path: Path) -> None:
    import torch

    model = _bert(hugging_face).eval()
    made = package_model(model, rows=TOKENS, name="m", version="1", into=tmp_path)
    assert [tensor.shape for tensor in made.card.inputs] == [[-1, -1], [-1, -1]]
    session = onnxruntime.InferenceSession(made.path / "model.onnx")
    for length in (1, 5, 40):
        ids = np.random.default_rng(length).integers(5, 90, (3, length))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        with torch.no_grad():
            want = model(**{key: torch.from_numpy(value) for key, value in feeds.items()}).logits
        np.testing.assert_allclose(session.run(None, feeds)[0], want.numpy(), atol=1e-5)


def _saved(module: Any, folder: Path) -> Path:
    _bert(module).save_pretrained(folder)
    return folder


def _drop(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickle_instead(folder: Path) -> None:
    _drop(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def _pickle_within(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": [1, 2, 3, 4, 5]}))


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _lose_a_weight(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _configure(**more: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return write


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop, "has none of model.onnx"),
        (_pickle_instead, "a pickle, which is never loaded"),
        (_pickle_within, "is a pickle"),
        (_truncate, "cannot load it"),
        (_lose_a_weight, "has no weights that fit classifier.weight"),
        (_no_json, "cannot be read as JSON"),
        (_adapter, "is an adapter"),
        (_configure(auto_map={"AutoModel": "modeling.Evil"}), "code of its own, which is never"),
        (_configure(quantization_config={"bits": 4}), "quantized weights"),
        (_configure(architectures=["Evil"]), "Evil is no model of transformers"),
        (_configure(architectures=["AutoConfig"]), "AutoConfig is no model of transformers"),
        (_configure(architectures=[]), "None is no model of transformers"),
        (_configure(num_labels=7, id2label={str(i): str(i) for i in range(7)}), "no weights|load"),
    ],
)
def test_folder_that_is_refused(
    spoil: Callable[[Path], None], said: str, hugging_face: Any, tmp_path: Path
) -> None:
    folder = _saved(hugging_face, tmp_path / "saved")
    spoil(folder)
    with pytest.raises(PackageError, match=said):
        package_model(folder, rows=TOKENS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def _export(folder: Path, *, inside: str = "model.onnx", scale: float = 2.0) -> Path:
    """A folder as optimum leaves it, of a network that only scales."""
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
    (folder / inside).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / inside)
    (folder / "config.json").write_text(json.dumps({"transformers_version": "5.0.0"}))
    return folder


@pytest.mark.parametrize("inside", ["model.onnx", "onnx/model.onnx"])
def test_export_needs_no_transformers(inside: str, tmp_path: Path) -> None:
    folder = _export(tmp_path / "export", inside=inside)
    rows = {"input_ids": IDS, "logits": 2.0 * IDS}
    made = package_model(folder, rows=rows, name="m", version="1", into=tmp_path / "models")
    assert (made.path / "model.onnx").read_bytes() == (folder / inside).read_bytes()
    assert made.card.source.framework == "transformers"
    assert made.card.source.framework_version == "5.0.0"
    assert made.notes == ()
    wrong = {"input_ids": IDS, "logits": 2.1 * IDS}
    with pytest.raises(PackageError, match="output 'logits': differs"):
        package_model(folder, rows=wrong, name="m", version="2", into=tmp_path / "models")


def test_export_with_a_pickle_in_it(tmp_path: Path) -> None:
    folder = _export(tmp_path / "export")
    (folder / "model.onnx").write_bytes(pickle.dumps({"a": [1, 2, 3, 4, 5]}))
    with pytest.raises(PackageError, match="is a pickle"):
        package_model(folder, rows=IDS, name="m", version="1", into=tmp_path / "models")


def test_export_beside_its_weights_is_compared_with_them(hugging_face: Any, tmp_path: Path) -> None:
    model = _bert(hugging_face).eval()
    model.save_pretrained(tmp_path / "saved")
    made = package_model(model, rows=TOKENS, name="m", version="1", into=tmp_path)
    export = tmp_path / "saved" / "model.onnx"
    export.write_bytes((made.path / "model.onnx").read_bytes())
    again = package_model(tmp_path / "saved", rows=TOKENS, name="m", version="2", into=tmp_path)
    assert (again.path / "model.onnx").read_bytes() == export.read_bytes()
    _bert(hugging_face).save_pretrained(tmp_path / "saved")  # other weights
    with pytest.raises(PackageError, match="output 'logits': differs"):
        package_model(tmp_path / "saved", rows=TOKENS, name="m", version="3", into=tmp_path)


def test_command_says_that_the_tokenizer_is_not_packaged(tmp_path: Path) -> None:
    folder = _export(tmp_path / "export")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).write_text("{}")
    np.save(tmp_path / "rows.npy", IDS)
    arguments = ["--name", "m", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy"), "--json"]
    done = CliRunner().invoke(main, ["package", str(folder), *arguments])
    assert done.exit_code == 0, done.output
    assert "not packaged: tokenizer.json, vocab.txt." in done.stderr
    assert json.loads(done.stdout)["rows_compared"] == len(IDS)
    assert set(read_card(tmp_path / "models" / "m" / "1").files) == {"model.onnx"}


def test_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"is a folder without config\.json"):
        package_model(tmp_path, rows=IDS, name="m", version="1", into=tmp_path / "models")
