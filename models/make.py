"""Trains the models in this directory on data that PyPI packages contain.

    python models/make.py           train missing versions and write the table in README.md
    python models/make.py --check   train all versions elsewhere and compare them with these

Every seed is fixed, and training uses one thread. The metrics are measured on held-out rows. `berth
package` compares scikit-learn's predictions for the same rows with onnxruntime's: the labels are
equal, so the metrics apply to the served model.
"""

import argparse
import ast
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from berth.operations.package import package_model  # noqa: E402
from berth_protocol.model_card import (  # noqa: E402
    MODEL_FILE,
    CardError,
    ModelCard,
    Tensor,
    digest,
    read_card,
    verify_files,
)

Array = NDArray[Any]

HELD_OUT = 0.3
SEED = 0

# Another CPU may round sums differently during training. The model's last bits then differ, and its
# metrics differ by at most this much.
METRIC_TOLERANCE = 0.005


@dataclass(frozen=True)
class Recipe:
    """A model version: a function that returns its rows and labels, and one that trains on them."""

    name: str
    version: str
    description: str
    dataset: str
    data: Callable[[], tuple[Array, Array]]
    train: Callable[[Array, Array], Pipeline]


def split(rows: Array, labels: Array) -> tuple[Array, Array, Array, Array]:
    """Return training rows, held-out rows, training labels and held-out labels, stratified."""
    parts: list[Array] = train_test_split(
        rows, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    return parts[0], parts[1], parts[2], parts[3]


def load_digit_images() -> tuple[Array, Array]:
    rows, labels = load_digits(return_X_y=True)
    return rows, labels


def load_tumors() -> tuple[Array, Array]:
    rows, labels = load_breast_cancer(return_X_y=True)
    return rows, labels


def load_docstrings() -> tuple[Array, Array]:
    """Return first docstring lines and the package of each line."""
    texts, packages = [], []
    for package in ("numpy", "scipy", "sklearn"):
        lines = read_first_lines(package)
        texts += lines
        packages += [package] * len(lines)
    return np.array(texts, dtype=object), np.array(packages)


def read_first_lines(package: str) -> list[str]:
    """Return the sorted first docstring lines of a package's public functions and classes.

    Lines have at least three words and only ASCII characters, because the ONNX tokenizer knows no
    other letters. The source is read without importing it.
    """
    spec = importlib.util.find_spec(package)
    assert spec
    assert spec.origin
    lines = set()
    for path in Path(spec.origin).parent.rglob("*.py"):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                lines.add((ast.get_docstring(node) or "").partition("\n")[0].strip())
    return sorted(line for line in lines if len(line.split()) >= 3 and line.isascii())


def train_linear(rows: Array, labels: Array) -> Pipeline:
    """Train a logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return model.fit(rows, labels)


def train_network(rows: Array, labels: Array) -> Pipeline:
    """Train a network with one hidden layer on each 8x8 image and its four shifts by a pixel."""
    model = make_pipeline(
        MinMaxScaler(), MLPClassifier((256,), alpha=0.01, max_iter=300, random_state=SEED)
    )
    return model.fit(shift_images(rows), np.tile(labels, 5))


def shift_images(rows: Array) -> Array:
    """Return the 8x8 images in `rows`, and the same images moved by a pixel in four directions."""
    images = np.pad(rows.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    corners = ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1))
    moved = [images[:, top : top + 8, left : left + 8] for top, left in corners]
    return np.concatenate(moved).reshape(-1, 64)


def train_text(rows: Array, labels: Array) -> Pipeline:
    """Train a logistic regression on the words of a text."""
    model = make_pipeline(TfidfVectorizer(min_df=2), LogisticRegression(C=5, max_iter=1000))
    return model.fit(rows, labels)


DIGITS = "scikit-learn load_digits: 1,797 images of handwritten digits, 8x8 pixels of 0 to 16"
RECIPES = [
    Recipe(
        name="breast-cancer",
        version="1",
        description="Whether a tumour is benign (1) or malignant (0), from 30 features of its "
        "cell nuclei: logistic regression.",
        dataset="scikit-learn load_breast_cancer: 569 tumours, 30 features (Wisconsin, diagnostic)",
        data=load_tumors,
        train=train_linear,
    ),
    Recipe(
        name="digits",
        version="1",
        description="Which digit an 8x8 image shows: logistic regression on the pixels.",
        dataset=DIGITS,
        data=load_digit_images,
        train=train_linear,
    ),
    Recipe(
        name="digits",
        version="2",
        description="Which digit an 8x8 image shows: a network with one hidden layer of 256, "
        "trained on shifted images too.",
        dataset=DIGITS,
        data=load_digit_images,
        train=train_network,
    ),
    Recipe(
        name="docstring-origin",
        version="1",
        description="Which of numpy, scipy and sklearn a docstring's first line comes from: "
        "logistic regression on its words. Text in, text out.",
        dataset="first docstring lines in the source of numpy, scipy and scikit-learn, as pinned",
        data=load_docstrings,
        train=train_text,
    ),
]


def measure(labels: Array, probabilities: Array, truth: Array) -> dict[str, float]:
    """Return the metrics of predictions for held-out rows, with four digits."""
    metrics = {
        "accuracy": accuracy_score(truth, labels),
        "f1_macro": f1_score(truth, labels, average="macro"),
        "log_loss": log_loss(truth, probabilities),
    }
    if probabilities.shape[1] == 2:
        metrics["roc_auc"] = roc_auc_score(truth, probabilities[:, 1])
    return {key: round(float(value), 4) for key, value in metrics.items()}


def make(recipe: Recipe, into: Path) -> None:
    """Train, measure and package a version."""
    with threadpool_limits(1):
        rows, held_out, labels, truth = split(*recipe.data())
        model = recipe.train(rows, labels)
        package_model(
            model,
            rows=held_out,
            name=recipe.name,
            version=recipe.version,
            into=into,
            description=recipe.description,
            metrics=measure(model.predict(held_out), model.predict_proba(held_out), truth),
            dataset=f"{recipe.dataset}; measured on {len(truth):,} held-out rows",
            trained_by="models/make.py",
        )


def check(recipe: Recipe) -> list[str]:
    """Train a version elsewhere and return the problems of the version in this directory."""
    name = f"{recipe.name}/{recipe.version}"
    here = HERE / name
    try:
        card = read_card(here)
        verify_files(here, card)
    except CardError as error:
        return [str(error)]
    with tempfile.TemporaryDirectory() as other:
        make(recipe, Path(other))
        retrained = read_card(Path(other) / name)
        is_same = digest(Path(other) / name) == digest(here)
    problems = [
        f"{name}: {key} is {card.metrics.get(key)} in the card, but {value} after training again"
        for key, value in retrained.metrics.items()
        if abs(card.metrics.get(key, float("inf")) - value) > METRIC_TOLERANCE
    ]
    if not problems:
        print(f"{name}: same metrics, {'same' if is_same else 'OTHER'} digest {digest(here)}")
    return problems


def format_table() -> str:
    """Return the table in README.md, from the cards."""
    lines = [
        "| model | version | prediction | input | outputs | metrics | size | digest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe in RECIPES:
        here = HERE / recipe.name / recipe.version
        card = read_card(here)
        cells = [
            card.name,
            card.version,
            card.description,
            ", ".join(map(format_tensor, card.inputs)),
            ", ".join(map(format_tensor, card.outputs)),
            format_metrics(card),
            f"{(here / MODEL_FILE).stat().st_size / 1000:.1f} kB",
            f"`{digest(here)[:19]}…`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def format_tensor(tensor: Tensor) -> str:
    return f"`{tensor.name}` {tensor.datatype} {tensor.shape}"


def format_metrics(card: ModelCard) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in card.metrics.items())


def update_readme() -> tuple[Path, str]:
    """Return the path of README.md and its text with an updated table."""
    path = HERE / "README.md"
    before, begin, rest = path.read_text().partition("<!-- table by make.py -->\n")
    _, end, after = rest.partition("<!-- end of table -->\n")
    return path, before + begin + format_table() + end + after


def main() -> int:
    """Return the exit status: 1 if `--check` finds a difference, 0 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="compare the versions without changing them"
    )
    if not parser.parse_args().check:
        for recipe in RECIPES:
            if not (HERE / recipe.name / recipe.version).exists():
                print(f"training {recipe.name}/{recipe.version}")
                make(recipe, HERE)
        path, text = update_readme()
        path.write_text(text)
        return 0
    problems = [problem for recipe in RECIPES for problem in check(recipe)]
    path, text = update_readme()
    if path.read_text() != text:
        problems.append(
            f"{path.name}: the table differs from the cards. Run python models/make.py."
        )
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
