"""The modules of sentence-transformers: from the states of tokens to one embedding for each row."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from berth.packaging.errors import PackageError, first_line
from berth.packaging.pickles import reject_pickle
from berth.packaging.rows import Array
from berth.packaging.safetensors import read_safetensors
from berth.packaging.text.folder import read_json
from berth.packaging.text.graph import GraphBuilder

SENTENCE_EMBEDDING = "sentence_embedding"

# Pooling modes in the order in which sentence-transformers joins several.
_MODES = (
    *("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"),
    "lasttoken",
)
_SHORT_MODES = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "weightedmean": "weightedmean_tokens",
}
_SMALLEST_NORM = 1e-12
_SMALLEST_COUNT = 1e-9

_ACTIVATIONS = ("GELU", "Identity", "ReLU", "SiLU", "Sigmoid", "Tanh")
_DENSE_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Normalize:
    """Scales each embedding to length 1."""


@dataclass(frozen=True)
class Dense:
    """A linear layer with an activation.

    Attributes:
        weight: Matrix of [outputs, inputs].
        bias: Vector of the outputs. None for no bias.
        activation: Name of a class in `torch.nn`.
        has_residual: Whether the input is added to the output.
        residual: Matrix of [outputs, inputs] that is applied to the added input. None for none.
    """

    weight: Array
    bias: Array | None
    activation: str
    has_residual: bool
    residual: Array | None


@dataclass(frozen=True)
class SentenceModules:
    """The modules that follow the network.

    Attributes:
        pooling: Pooling modes, whose results are joined.
        steps: Modules after the pooling.
    """

    pooling: tuple[str, ...]
    steps: tuple[Dense | Normalize, ...] = ()


def read_sentence_modules(directory: Path) -> SentenceModules | None:
    """Read modules.json. None if the directory is not from sentence-transformers.

    Raises:
        PackageError: If a module or one of its settings is not supported.
    """
    path = directory / "modules.json"
    if not path.is_file():
        return None
    try:
        modules = [
            (entry["type"].rpartition(".")[2], directory / entry["path"])
            for entry in json.loads(path.read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{path}: not a list of modules ({first_line(error)})") from error
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}:
        raise PackageError(
            f"{path}: the modules {', '.join(kinds)} are not supported. Supported: Transformer, "
            "Pooling and then any number of Dense and Normalize. Export the whole model to ONNX."
        )
    _check_network(directory)
    steps = tuple(
        _read_dense(place) if kind == "Dense" else _read_normalize(place)
        for kind, place in modules[2:]
    )
    return SentenceModules(_read_modes(modules[1][1] / "config.json"), steps)


def _check_network(directory: Path) -> None:
    """Check that the pooling gets the last states of the network."""
    path = directory / "sentence_bert_config.json"
    text = (read_json(path).get("modality_config") or {}).get("text") or {}
    if (name := text.get("method_output_name", "last_hidden_state")) != "last_hidden_state":
        raise PackageError(f"{path}: the network's output {name} is not supported.")


def _read_modes(path: Path) -> tuple[str, ...]:
    config = read_json(path)
    chosen = config.get("pooling_mode")
    if chosen is None:
        enabled = [
            key.removeprefix("pooling_mode_")
            for key, value in config.items()
            if key.startswith("pooling_mode_") and value is True
        ]
        modes = sorted(enabled, key=lambda mode: _MODES.index(mode) if mode in _MODES else 0)
    else:
        listed = [chosen] if isinstance(chosen, str) else list(chosen)
        modes = [_SHORT_MODES.get(mode, str(mode)) for mode in listed]
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown or not modes:
        raise PackageError(
            f"{path}: the pooling mode {', '.join(unknown) or 'is missing and'} is not supported. "
            f"Supported: {', '.join(_MODES)}."
        )
    return tuple(modes)


def _read_normalize(directory: Path) -> Normalize:
    _check_names(directory / "config.json", read_json(directory / "config.json"))
    return Normalize()


def _check_names(path: Path, config: Mapping[str, Any]) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, SENTENCE_EMBEDDING):
            raise PackageError(
                f"{path}: {key}: {config[key]} is not supported; only {SENTENCE_EMBEDDING} is."
            )


def _read_dense(directory: Path) -> Dense:
    path, weights_path = directory / "config.json", directory / _DENSE_WEIGHTS
    config = read_json(path)
    _check_names(path, config)
    module, _, activation = str(
        config.get("activation_function", "torch.nn.modules.activation.Tanh")
    ).rpartition(".")
    if not module.startswith("torch.nn") or activation not in _ACTIVATIONS:
        raise PackageError(
            f"{path}: activation_function: {config['activation_function']} is not supported. "
            f"Supported classes of torch.nn: {', '.join(_ACTIVATIONS)}."
        )
    if not weights_path.is_file():
        raise PackageError(
            f"{directory}: the directory has no {_DENSE_WEIGHTS}. Weights in a .bin file are a "
            "pickle, which Berth never loads. Save the model with a current sentence-transformers."
        )
    reject_pickle(weights_path)
    tensors = read_safetensors(weights_path)
    inputs, outputs = config.get("in_features"), config.get("out_features")
    expected: dict[str, list[Any]] = {"linear.weight": [outputs, inputs]}
    if config.get("bias", True):
        expected["linear.bias"] = [outputs]
    if (has_residual := bool(config.get("use_residual"))) and inputs != outputs:
        expected["residual.weight"] = [outputs, inputs]
    if (shapes := {name: list(array.shape) for name, array in tensors.items()}) != expected:
        raise PackageError(
            f"{weights_path}: the weights are {shapes}, but {path.name} describes {expected}. Save "
            "the model again."
        )
    arrays = {name: array.astype(np.float32) for name, array in tensors.items()}
    return Dense(
        weight=arrays["linear.weight"],
        bias=arrays.get("linear.bias"),
        activation=activation,
        has_residual=has_residual,
        residual=arrays.get("residual.weight"),
    )


def add_sentence_modules(
    graph: GraphBuilder, states: str, mask: str, modules: SentenceModules
) -> str:
    """Add the operators from token states to embeddings."""
    result = _add_pooling(graph, states, mask, modules.pooling)
    for step in modules.steps:
        result = (
            _add_dense(graph, result, step)
            if isinstance(step, Dense)
            else _add_normalize(graph, result)
        )
    return result


def _add_pooling(graph: GraphBuilder, states: str, mask: str, modes: tuple[str, ...]) -> str:
    weights = graph.unsqueeze(graph.to(mask, np.float32), 2)
    total = graph.reduce("ReduceSum", graph.add("Mul", states, weights), 1)
    count = _at_least(graph, graph.reduce("ReduceSum", weights, 1), _SMALLEST_COUNT)
    parts = []
    for mode in modes:
        if mode == "cls_token":
            parts.append(graph.add("Gather", states, graph.constant(0), axis=1))
        elif mode == "max_tokens":
            lowest = graph.constant(-1e9, np.float32)
            kept = graph.add("Where", graph.to(weights, np.bool_), states, lowest)
            parts.append(graph.reduce("ReduceMax", kept, 1))
        elif mode == "mean_tokens":
            parts.append(graph.add("Div", total, count))
        elif mode == "mean_sqrt_len_tokens":
            parts.append(graph.add("Div", total, graph.add("Sqrt", count)))
        elif mode == "weightedmean_tokens":
            counted = graph.add("CumSum", weights, graph.constant(1))
            places = graph.add("Mul", counted, weights)
            weighted = graph.reduce("ReduceSum", graph.add("Mul", states, places), 1)
            sum_of_places = graph.reduce("ReduceSum", places, 1)
            divisor = _at_least(graph, sum_of_places, _SMALLEST_COUNT)
            parts.append(graph.add("Div", weighted, divisor))
        else:
            parts.append(_add_last(graph, states, weights, count))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _add_last(graph: GraphBuilder, states: str, weights: str, count: str) -> str:
    """Return the state of the last token: the only one that is counted last."""
    counted = graph.add("CumSum", weights, graph.constant(1))
    total = graph.to(graph.unsqueeze(count, 1), np.int64)
    last = graph.add("Equal", graph.to(counted, np.int64), total)
    chosen = graph.add("Mul", graph.to(last, np.float32), weights)
    return graph.reduce("ReduceSum", graph.add("Mul", states, chosen), 1)


def _add_normalize(graph: GraphBuilder, value: str) -> str:
    squares = graph.reduce("ReduceSum", graph.add("Mul", value, value), 1, keepdims=True)
    return graph.add("Div", value, _at_least(graph, graph.add("Sqrt", squares), _SMALLEST_NORM))


def _at_least(graph: GraphBuilder, value: str, smallest: float) -> str:
    return graph.add("Max", value, graph.constant(smallest, np.float32))


def _add_dense(graph: GraphBuilder, value: str, dense: Dense) -> str:
    result = graph.add("MatMul", value, graph.constant(dense.weight.T, np.float32))
    if dense.bias is not None:
        result = graph.add("Add", result, graph.constant(dense.bias, np.float32))
    result = _add_activation(graph, result, dense.activation)
    if dense.residual is not None:
        value = graph.add("MatMul", value, graph.constant(dense.residual.T, np.float32))
    return graph.add("Add", result, value) if dense.has_residual else result


def _add_activation(graph: GraphBuilder, value: str, name: str) -> str:
    if name == "Identity":
        return value
    if name == "SiLU":
        return graph.add("Mul", value, graph.add("Sigmoid", value))
    if name == "GELU":
        scaled = graph.add("Mul", value, graph.constant(math.sqrt(0.5), np.float32))
        share = graph.add("Add", graph.add("Erf", scaled), graph.constant(1, np.float32))
        return graph.add("Mul", graph.add("Mul", value, share), graph.constant(0.5, np.float32))
    return graph.add("Relu" if name == "ReLU" else name, value)


def compute_embeddings(states: Array, mask: Array, modules: SentenceModules) -> Array:
    """Compute the embeddings in FP64 as sentence-transformers does, for comparison."""
    result = _compute_pooling(states.astype(np.float64), mask.astype(np.float64), modules.pooling)
    for step in modules.steps:
        if isinstance(step, Dense):
            result = _compute_dense(result, step)
        else:
            norm = np.sqrt((result**2).sum(1, keepdims=True))
            result = result / np.maximum(norm, _SMALLEST_NORM)
    return result


def _compute_pooling(states: Array, mask: Array, modes: tuple[str, ...]) -> Array:
    weights = mask[:, :, None]
    total, count = (states * weights).sum(1), np.maximum(weights.sum(1), _SMALLEST_COUNT)
    places = weights * np.cumsum(weights, axis=1)
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    values = {
        "cls_token": states[:, 0],
        "max_tokens": np.where(weights > 0, states, -1e9).max(1),
        "mean_tokens": total / count,
        "mean_sqrt_len_tokens": total / np.sqrt(count),
        "weightedmean_tokens": (states * places).sum(1)
        / np.maximum(places.sum(1), _SMALLEST_COUNT),
        "lasttoken": states[np.arange(len(states)), last],
    }
    return np.concatenate([values[mode] for mode in modes], axis=1)


def _compute_dense(value: Array, dense: Dense) -> Array:
    result = value @ dense.weight.T.astype(np.float64)
    if dense.bias is not None:
        result = result + dense.bias
    sigmoid = 1 / (1 + np.exp(-result))
    erf = np.vectorize(math.erf, otypes=[np.float64])
    activated: Array
    match dense.activation:
        case "GELU":
            activated = result * (1 + erf(result * math.sqrt(0.5))) / 2
        case "Identity":
            activated = result
        case "ReLU":
            activated = np.maximum(result, 0)
        case "SiLU":
            activated = result * sigmoid
        case "Sigmoid":
            activated = sigmoid
        case _:
            activated = np.tanh(result)
    if dense.residual is not None:
        value = value @ dense.residual.T
    return activated + value if dense.has_residual else activated
