"""Puts a tokenizer before a network and heads after it, and proves that the tokenizer is exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth.packaging.runtime import load_session, run_model
from berth.packaging.text.corpus import COUNT, build_corpus
from berth.packaging.text.folder import TextFolder
from berth.packaging.text.graph import OLDEST_OPSET, GraphBuilder
from berth.packaging.text.labels import Labels, add_labels, compute_labels
from berth.packaging.text.sentences import (
    SENTENCE_EMBEDDING,
    SentenceModules,
    add_sentence_modules,
    compute_embeddings,
)
from berth.packaging.text.vocabulary import WordPiece
from berth.packaging.text.wordpiece import add_wordpiece

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

TEXT = "text"
"""The name of the input."""

MAX_TEXT_BYTES = 65_536
"""Longest accepted text, in bytes of UTF-8. Splitting it into characters takes about 16 MB."""

_IDS, _MASK, _TYPES = INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_STATES = ("last_hidden_state", "token_embeddings")
_LOGITS = "logits"
_DOMAINS = {"ai.onnx.ml": 2, "com.microsoft": 1}
# Since this version of the file format, constants need not be inputs.
_OLDEST_IR = 4
_PROVEN_TEXTS = COUNT
_PROVEN_AT_ONCE = 50


@dataclass(frozen=True)
class Head:
    """What follows the network: one of them, or neither."""

    modules: SentenceModules | None = None
    labels: Labels | None = None


def tokenize(folder: TextFolder, texts: Sequence[str]) -> dict[str, Array]:
    """Return the inputs of the network for `texts`, from Hugging Face's tokenizer."""
    encoded = [encoding.ids for encoding in folder.tokenizer.encode_batch(list(texts))]
    longest = max(map(len, encoded))
    ids = np.full((len(encoded), longest), folder.wordpiece.padding, np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(encoded):
        ids[place, : len(row)], mask[place, : len(row)] = row, 1
    return {_IDS: ids, _MASK: mask, _TYPES: np.zeros_like(ids)}


def prove_tokenizer(folder: TextFolder, texts: Sequence[str]) -> int:
    """Check that the operators return Hugging Face's IDs for 10,000 generated texts and `texts`.

    Returns:
        The number of texts.

    Raises:
        PackageError: If the IDs of a text differ.
    """
    wordpiece = folder.wordpiece
    tokens = [token for token in wordpiece.vocabulary if token not in wordpiece.special]
    special = sorted([*wordpiece.special, *wordpiece.normalized])
    corpus = [*texts, *build_corpus(sorted(tokens), special, _PROVEN_TEXTS)]
    session = load_session(_build_tokenizer(wordpiece).SerializeToString())
    for start in range(0, len(corpus), _PROVEN_AT_ONCE):
        part = corpus[start : start + _PROVEN_AT_ONCE]
        actual = run_model(session, {TEXT: np.array(part, object)})
        expected = tokenize(folder, part)
        for place, text in enumerate(part):
            ours, theirs = (
                result[_IDS][place][result[_MASK][place] > 0].tolist()
                for result in (actual, expected)
            )
            if ours != theirs:
                raise PackageError(
                    f"the token IDs of {text[:80]!a} are {_shorten(ours)}, but Hugging Face's are "
                    f"{_shorten(theirs)}. Report this defect"
                )
    return len(corpus)


def add_text(
    network: Conversion, folder: TextFolder, texts: Array, states: Mapping[str, Array], head: Head
) -> Conversion:
    """Return the network with the input `text`, and with embeddings or labels as its answer.

    Args:
        network: A network whose inputs are token IDs.
        states: Outputs of the network for `texts`, which Hugging Face's tokenizer tokenized.

    Raises:
        PackageError: If the network has another input, or not the output that the head needs.
    """

    proto = network.load_model()
    before = GraphBuilder(_find_opset(proto))
    tokens = _add_tokens(before, folder.wordpiece, _read_inputs(proto))
    after = before.begin_body()
    if head.modules is not None:
        name = _find_output(states, _STATES, "one state for each token")
        mask = tokenize(folder, list(texts))[_MASK]
        results = {
            SENTENCE_EMBEDDING: add_sentence_modules(after, name, tokens[_MASK], head.modules)
        }
        predictions = {SENTENCE_EMBEDDING: compute_embeddings(states[name], mask, head.modules)}
    elif head.labels is not None:
        name = _find_output(states, (_LOGITS,), "one number for each label")
        if (count := states[name].shape[-1]) != len(head.labels.names):
            raise PackageError(
                f"config.json: id2label has {len(head.labels.names)} labels, but the network "
                f"returns {count} numbers. Export the model again, or correct the file."
            )
        results = add_labels(after, name, head.labels) | {_LOGITS: name}
        predictions = compute_labels(states[name], head.labels) | {_LOGITS: states[name]}
    else:
        expected = tokenize(folder, list(texts))
        results = {name: name for name in states} | {_IDS: tokens[_IDS], _MASK: tokens[_MASK]}
        predictions = dict(states) | {name: expected[name] for name in (_IDS, _MASK)}
    _assemble(proto, before, after, results, predictions)
    content: bytes = proto.SerializeToString(deterministic=True)
    return replace(
        network,
        model=content,
        rows={TEXT: texts},
        predictions=predictions,
        max_bytes={TEXT: MAX_TEXT_BYTES},
    )


def add_embedding(
    network: Conversion, states: Mapping[str, Array], modules: SentenceModules
) -> Conversion:
    """Return the network, whose inputs are token IDs, with an embedding of each row as its answer.

    Args:
        states: Outputs of the network for its rows.

    Raises:
        PackageError: If the network has no attention mask, or does not return a state per token.
    """

    proto = network.load_model()
    if _MASK not in network.rows:
        raise PackageError(
            f"The network has no input {_MASK}, which the pooling of modules.json needs. Export it "
            f"with the inputs {', '.join(INPUTS)}."
        )
    name = _find_output(states, _STATES, "one state for each token")
    after = GraphBuilder(_find_opset(proto))
    results = {SENTENCE_EMBEDDING: add_sentence_modules(after, name, _MASK, modules)}
    predictions = {
        SENTENCE_EMBEDDING: compute_embeddings(states[name], network.rows[_MASK], modules)
    }
    _assemble(proto, None, after, results, predictions)
    content: bytes = proto.SerializeToString(deterministic=True)
    return replace(network, model=content, predictions=predictions)


def _find_opset(proto: "ModelProto") -> int:
    opset = next((entry.version for entry in proto.opset_import if not entry.domain), 0)
    if opset < OLDEST_OPSET:
        raise PackageError(
            f"The network uses ONNX operator set {opset}; text needs at least {OLDEST_OPSET}. "
            "Export it again."
        )
    return opset


def _read_inputs(proto: "ModelProto") -> dict[str, int]:
    """Return the element type of each input of the network."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = {
        value.name: value.type.tensor_type.elem_type
        for value in proto.graph.input
        if value.name not in constants
    }
    if unknown := [name for name in inputs if name not in INPUTS]:
        raise PackageError(
            f"The network has the input {unknown[0]!r}, which does not come from the tokenizer. "
            f"Export it with the inputs {', '.join(INPUTS)}."
        )
    return inputs


def _add_tokens(
    graph: GraphBuilder, wordpiece: WordPiece, inputs: Mapping[str, int]
) -> dict[str, str]:
    """Add the tokenizer, which produces `inputs` with their types. Return its own INT64 tensors."""
    from onnx import helper

    ids, lengths = add_wordpiece(graph, TEXT, wordpiece)
    width = graph.add("Gather", graph.add("Shape", ids), graph.constant([1]))
    mask = graph.to(graph.add("Less", graph.count_up(width), lengths), np.int64)
    tokens = {_IDS: ids, _MASK: mask, _TYPES: graph.add("Sub", ids, ids)}
    for name, kind in inputs.items():
        graph.nodes.append(helper.make_node("Cast", [tokens[name]], [name], to=kind))
    return tokens


def _build_tokenizer(wordpiece: WordPiece) -> "ModelProto":
    """Return the tokenizer as a model."""
    from onnx import TensorProto, helper

    graph = GraphBuilder(OLDEST_OPSET)
    _add_tokens(graph, wordpiece, dict.fromkeys((_IDS, _MASK), TensorProto.INT64))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in (_IDS, _MASK)
    ]
    inputs = [helper.make_tensor_value_info(TEXT, TensorProto.STRING, ["rows"])]
    built = helper.make_graph(graph.nodes, "tokenizer", inputs, outputs, graph.constants)
    opsets = {"": OLDEST_OPSET} | _DOMAINS
    return helper.make_model(
        built, opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()], ir_version=7
    )


def _find_output(states: Mapping[str, Array], names: Sequence[str], content: str) -> str:
    for name in names:
        if name in states:
            return name
    raise PackageError(
        f"The network returns {', '.join(states)}, not {' or '.join(names)} with {content}. Export "
        "it with the tool's own names, for example with optimum."
    )


def _assemble(
    proto: "ModelProto",
    before: GraphBuilder | None,
    after: GraphBuilder,
    results: Mapping[str, str],
    predictions: Mapping[str, Array],
) -> None:
    """Join the operators, and replace the outputs and, with `before`, the inputs of the network."""
    from onnx import TensorProto, helper

    graph = proto.graph
    inputs = list(graph.input)
    if before is not None:
        text = helper.make_tensor_value_info(TEXT, TensorProto.STRING, ["rows"])
        inputs = [text, *(value for value in inputs if value.name not in _read_inputs(proto))]
    known = {value.name: value for value in graph.output}
    added = {name: source for name, source in results.items() if name != source}
    renamed = _rename(graph, (set(added) | {TEXT}) - set(_read_inputs(proto)))
    for name, source in added.items():
        if name not in _read_inputs(proto):
            tensor = renamed.get(source, source)
            after.nodes.append(helper.make_node("Identity", [tensor], [name]))
    kinds = {"O": TensorProto.STRING, "i": TensorProto.INT64, "f": TensorProto.FLOAT}
    outputs = []
    for name, value in predictions.items():
        dims = ["rows", *value.shape[1:]]
        if value.ndim == 3 or name in (_IDS, _MASK) or (value.ndim == 2 and name == "label"):
            dims[1] = "tokens"
        kind = kinds[value.dtype.kind]
        info = known.get(name) if name not in added else None
        outputs.append(info or helper.make_tensor_value_info(name, kind, dims))
    nodes = [*(before.nodes if before is not None else ()), *graph.node, *after.nodes]
    for field, values in (("node", nodes), ("input", inputs), ("output", outputs)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    graph.initializer.extend(after.constants)
    domains = {entry.domain for entry in proto.opset_import}
    for domain, version in _DOMAINS.items():
        if before is not None and domain not in domains:
            proto.opset_import.append(helper.make_opsetid(domain, version))
    proto.ir_version = max(proto.ir_version, _OLDEST_IR)


def _rename(graph: "GraphProto", names: set[str]) -> dict[str, str]:
    """Rename tensors of the network that have the name of a new input or output."""
    used = {name for node in graph.node for name in node.output} & names
    renamed = {name: f"network_{name}" for name in used}
    for node in graph.node:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                field[place] = renamed.get(name, name)
    return renamed


def _shorten(ids: list[int]) -> str:
    return f"{ids[:20]}{'...' if len(ids) > 20 else ''}"
