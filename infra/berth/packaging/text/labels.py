"""What follows a classifier: the names of its labels, and their probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth.packaging.text.graph import GraphBuilder


@dataclass(frozen=True)
class Labels:
    """The names of classes.

    Attributes:
        names: Name of each class, in the order of the network's output.
        independent: Whether several classes can apply, so that their probabilities are independent.
    """

    names: tuple[str, ...]
    independent: bool


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
