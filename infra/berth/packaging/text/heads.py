"""What follows a network: sentence embeddings and the names of labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from berth.packaging.errors import PackageError, first_line
from berth.packaging.rows import Array
from berth.packaging.text.folder import read_json
from berth.packaging.text.graph import GraphBuilder

SENTENCE_EMBEDDING = "sentence_embedding"

# Pooling modes in the order in which sentence-transformers joins several.
_MODES = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "lasttoken")
_SMALLEST_NORM = 1e-12
_SMALLEST_COUNT = 1e-9


@dataclass(frozen=True)
class Pooling:
    """The steps of sentence-transformers from token states to one embedding for each row.

    Attributes:
        modes: Pooling modes, whose results are joined.
        normalize: Whether the embedding has length 1.
    """

    modes: tuple[str, ...]
    normalize: bool


@dataclass(frozen=True)
class Labels:
    """The names of classes.

    Attributes:
        names: Name of each class, in the order of the network's output.
        independent: Whether several classes can apply, so that their probabilities are independent.
    """

    names: tuple[str, ...]
    independent: bool


def read_pooling(directory: Path) -> Pooling | None:
    """Read modules.json. None if the directory is not from sentence-transformers.

    Raises:
        PackageError: If a module is not supported.
    """
    path = directory / "modules.json"
    if not path.is_file():
        return None
    import json

    try:
        modules = [
            (entry["type"].rpartition(".")[2], entry["path"])
            for entry in json.loads(path.read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{path}: not a list of modules ({first_line(error)})") from error
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise PackageError(
            f"{path}: the modules {', '.join(kinds)} are not supported. Supported: Transformer, "
            "Pooling and optionally Normalize. Export the whole model to ONNX."
        )
    config_path = directory / modules[1][1] / "config.json"
    config = read_json(config_path)
    chosen = config.get("pooling_mode")
    if isinstance(chosen, str):
        config = {f"pooling_mode_{_SHORT_MODES.get(chosen, chosen)}": True}
    modes = [
        key.removeprefix("pooling_mode_")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    ]
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown or not modes:
        raise PackageError(
            f"{config_path}: the pooling mode {', '.join(unknown) or 'is missing and'} is not "
            f"supported. Supported: {', '.join(_MODES)}."
        )
    return Pooling(tuple(mode for mode in _MODES if mode in modes), len(kinds) == 3)


_SHORT_MODES = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}


def read_labels(config: Mapping[str, Any]) -> Labels | None:
    """Read `id2label` of a classifier's config.json. None for other networks."""
    architecture = next(iter(config.get("architectures") or []), "")
    names = config.get("id2label")
    if not str(architecture).endswith("Classification") or not isinstance(names, dict):
        return None
    try:
        ordered = tuple(str(names[str(place)]) for place in range(len(names)))
    except KeyError as error:
        raise PackageError(f"config.json: id2label has no label for class {error}") from None
    if len(ordered) < 2:
        return None  # A regression.
    return Labels(ordered, config.get("problem_type") == "multi_label_classification")


def add_pooling(graph: GraphBuilder, states: str, mask: str, pooling: Pooling) -> str:
    """Add the operators from token states to embeddings."""
    weights = graph.unsqueeze(graph.to(mask, np.float32), 2)
    weighted = graph.add("Mul", states, weights)
    total = graph.reduce("ReduceSum", weighted, 1)
    count = graph.reduce("ReduceSum", weights, 1)
    count = graph.add("Max", count, graph.constant(_SMALLEST_COUNT, np.float32))
    parts = []
    for mode in pooling.modes:
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
        else:
            parts.append(_add_last(graph, states, weights, count))
    result = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    if pooling.normalize:
        squares = graph.reduce("ReduceSum", graph.add("Mul", result, result), 1, keepdims=True)
        smallest = graph.constant(_SMALLEST_NORM, np.float32)
        result = graph.add("Div", result, graph.add("Max", graph.add("Sqrt", squares), smallest))
    return result


def _add_last(graph: GraphBuilder, states: str, weights: str, count: str) -> str:
    """Return the state of the last token: the only one that is counted last."""
    counted = graph.add("CumSum", weights, graph.constant(1))
    total = graph.to(graph.unsqueeze(count, 1), np.int64)
    last = graph.add("Equal", graph.to(counted, np.int64), total)
    chosen = graph.add("Mul", graph.to(last, np.float32), weights)
    return graph.reduce("ReduceSum", graph.add("Mul", states, chosen), 1)


def compute_pooling(states: Array, mask: Array, pooling: Pooling) -> Array:
    """Compute the embeddings in FP64 as sentence-transformers does, for comparison."""
    states, weights = states.astype(np.float64), mask.astype(np.float64)[:, :, None]
    total, count = (states * weights).sum(1), np.maximum(weights.sum(1), _SMALLEST_COUNT)
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    values = {
        "cls_token": states[:, 0],
        "max_tokens": np.where(weights > 0, states, -1e9).max(1),
        "mean_tokens": total / count,
        "mean_sqrt_len_tokens": total / np.sqrt(count),
        "lasttoken": states[np.arange(len(states)), last],
    }
    result = np.concatenate([values[mode] for mode in pooling.modes], axis=1)
    if pooling.normalize:
        norm = np.sqrt((result**2).sum(1, keepdims=True))
        result = result / np.maximum(norm, _SMALLEST_NORM)
    return result


def add_labels(graph: GraphBuilder, logits: str, labels: Labels) -> dict[str, str]:
    """Add the most probable label and the probabilities. Return tensors by output name."""
    best = graph.add("ArgMax", logits, axis=-1, keepdims=0)
    if labels.independent:
        probabilities = graph.add("Sigmoid", logits)
    else:
        probabilities = graph.add("Softmax", logits, axis=-1)
    return {
        "label": graph.add("Gather", graph.constant(labels.names, str), best),
        "probabilities": probabilities,
    }


def compute_labels(logits: Array, labels: Labels) -> dict[str, Array]:
    """Compute the outputs of `add_labels` in FP64, for comparison."""
    exact = logits.astype(np.float64)
    if labels.independent:
        probabilities = 1 / (1 + np.exp(-exact))
    else:
        powers = np.exp(exact - exact.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
    names = np.array(labels.names, object)
    return {"label": names[np.argmax(exact, -1)], "probabilities": probabilities}
