"""A small Hugging Face directory: a synthetic vocabulary, a tokenizer and a network like BERT's."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from berth.packaging.text import attach, folder
from berth.packaging.text.characters import read_character_table

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("the", "a", "an", "un", "weather", "station", "where", "is", "was", "very", "play", "run"),
    *("happy", "load", "ing", "ed", "er", "s", "ly", "to", "stadium", "caf", "e", "cafe"),
    *("istanbul", "\u4e2d", "\u6587", "\u65e5", "\ud55c", "\u0627", "\u0644", "\u0441"),
    *("\u043e", "\u043b", "\u0928", "\u0947", "\u03b1", "\u03c3", "\u03c2"),
)
SIZE = 8


def build_vocabulary(more: Sequence[str] = ()) -> dict[str, int]:
    """Return tokens for words and parts of words, and for each ASCII character but x."""
    characters = [chr(c) for c in range(0x21, 0x7F) if chr(c) not in "xX"]
    tokens = [*SPECIAL, *WORDS, *characters, "ß", "é", "İ", "\u1100", "\u1161", *more]
    tokens += [f"##{token}" for token in tokens[len(SPECIAL) :] if token.isalnum()]
    return {token: place for place, token in enumerate(dict.fromkeys(tokens))}


def define_tokenizer(vocabulary: dict[str, int] | None = None, **normalizer: Any) -> dict[str, Any]:
    """Return the content of a tokenizer.json as BERT has it."""
    vocabulary = vocabulary or build_vocabulary()
    options = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocabulary[t], "content": t, "normalized": False, "special": True, **flags}
            for t in SPECIAL
        ],
        "normalizer": {"type": "BertNormalizer", "lowercase": True, **options, **normalizer},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", vocabulary["[SEP]"]],
            "cls": ["[CLS]", vocabulary["[CLS]"]],
        },
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def build_network(
    vocabulary: int, *, labels: int = 0, opset: int = 17, inputs: Sequence[str] = ()
) -> onnx.ModelProto:
    """Return a network whose states depend on all tokens of a row that are not padding.

    Args:
        labels: If not 0, the network returns that many logits instead of states.
        inputs: Further inputs, which it ignores.
    """
    source = np.random.default_rng(0)
    constants = {
        "table": source.normal(size=(vocabulary, SIZE)).astype(np.float32),
        "head": source.normal(size=(SIZE, labels or SIZE)).astype(np.float32),
        "axis": np.array([1]),
        "axis_2": np.array([2]),
        "first": np.array(0),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["tokens"]),
        node("Cast", ["attention_mask"], ["flat"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["flat", "axis_2"], ["mask"]),
        node("Mul", ["tokens", "mask"], ["kept"]),
        node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=1),
        node("Add", ["tokens", "sum"], ["mixed"]),
        node("Tanh", ["mixed"], ["last_hidden_state"]),
        node("Gather", ["last_hidden_state", "first"], ["beginning"], axis=1),
        node("MatMul", ["beginning", "head"], ["logits" if labels else "scores"]),
        *([] if labels else [node("Tanh", ["scores"], ["pooler_output"])]),
    ]
    info = helper.make_tensor_value_info
    names = ("input_ids", "attention_mask", *inputs)
    outputs = [
        info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", SIZE]),
        info("pooler_output", TensorProto.FLOAT, ["batch", SIZE]),
    ]
    if labels:
        outputs = [info("logits", TensorProto.FLOAT, ["batch", labels])]
    graph = helper.make_graph(
        nodes,
        "network",
        [info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write_folder(directory: Path, *, network: onnx.ModelProto | None = None, **files: Any) -> Path:
    """Write a directory with an ONNX export.

    Args:
        files: Content of further JSON files by name without suffix. `__` separates directories.
    """
    definition = files.pop("tokenizer", None) or define_tokenizer()
    config = {"model_type": "bert", "max_position_embeddings": 32, "pad_token_id": 0}
    files = {"config": config, "tokenizer": definition, "tokenizer_config": {}} | files
    for name, content in files.items():
        path = directory / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
    (directory / "onnx").mkdir()
    onnx.save(
        network or build_network(len(definition["model"]["vocab"])), directory / "onnx/model.onnx"
    )
    return directory


def define_pooling(*modes: str, normalize: bool = True) -> dict[str, Any]:
    """Return the files of sentence-transformers for `write_folder`."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    return {
        "modules": [
            {
                "idx": i,
                "name": str(i),
                "path": paths[i],
                "type": f"sentence_transformers.models.{k}",
            }
            for i, k in enumerate(kinds)
        ],
        "1_Pooling__config": {"word_embedding_dimension": SIZE}
        | {"include_prompt": True, "pooling_mode_weightedmean_tokens": False}
        | {f"pooling_mode_{mode}": True for mode in modes},
    }


def write_safetensors(path: Path, weights: dict[str, Any]) -> None:
    """Write weights as `save_pretrained` does."""
    header, data = {}, b""
    for name, array in weights.items():
        kind = {"f": f"F{array.itemsize * 8}", "i": f"I{array.itemsize * 8}"}[array.dtype.kind]
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    encoded = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)


def prove_few_texts(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Make packaging compare `count` texts, and read each table of characters only once."""

    def read(tokenizer: Any, alphabet: set[str]) -> dict[str, str]:
        key = (tokenizer.normalizer.__getstate__(), frozenset(alphabet))
        if key not in _TABLES:
            _TABLES[key] = read_character_table(tokenizer, alphabet)
        return _TABLES[key]

    monkeypatch.setattr(attach, "_PROVEN_TEXTS", count)
    monkeypatch.setattr(folder, "read_character_table", read)


_TABLES: dict[Any, dict[str, str]] = {}
