"""The models in this repository match their cards."""

import re
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from berth_protocol.model_card import CARD_FILE, digest, read_card, verify_files
from tests.repository import REPOSITORY

MODELS = REPOSITORY / "models"
VERSIONS = sorted(path.parent for path in MODELS.glob(f"*/*/{CARD_FILE}"))


@pytest.mark.parametrize("directory", VERSIONS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_files_match_card(directory: Path) -> None:
    card = read_card(directory)
    verify_files(directory, card)
    assert (card.name, card.version) == (directory.parent.name, directory.name)
    assert {path.name for path in directory.iterdir()} == {CARD_FILE, *card.files}
    assert card.metrics
    assert card.description


def test_digits_has_two_versions() -> None:
    assert {directory.name for directory in VERSIONS if directory.parent.name == "digits"} == {
        "1",
        "2",
    }


@pytest.mark.parametrize("directory", VERSIONS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_readme_table_matches_card(directory: Path) -> None:
    table = (MODELS / "README.md").read_text()
    row = next(
        line
        for line in table.splitlines()
        if re.match(rf"\| {directory.parent.name} \| {re.escape(directory.name)} \|", line)
    )
    assert digest(directory).removeprefix("sha256:")[:12] in row
    for name, value in read_card(directory).metrics.items():
        assert f"{name} {value:.4f}" in row


def _measured_versions() -> list[Any]:
    """Return each version as a parameter. The text model predicts for 8 s."""
    slow = {"docstring-origin": pytest.mark.slow}
    return [
        pytest.param(
            path, marks=slow.get(path.parent.name, ()), id=f"{path.parent.name}-{path.name}"
        )
        for path in VERSIONS
    ]


@pytest.fixture(scope="module")
def make() -> Any:
    """Import `models/make.py`, which imports scikit-learn."""
    from models import make

    return make


@pytest.mark.parametrize("directory", _measured_versions())
def test_metrics_match_predictions_of_committed_model(directory: Path, make: Any) -> None:
    """Measure the metrics of model.onnx on the held-out rows, without training."""
    (recipe,) = (
        one
        for one in make.RECIPES
        if (one.name, one.version) == (directory.parent.name, directory.name)
    )
    _, held_out, _, truth = make.split(*recipe.data())
    session = onnxruntime.InferenceSession(directory / "model.onnx")
    rows = held_out if held_out.dtype == object else held_out.astype("float32")
    labels, probabilities = session.run(["label", "probabilities"], {"input": rows})
    measured = make.measure(labels, probabilities, truth)
    assert measured == pytest.approx(read_card(directory).metrics, abs=1e-4)


def test_every_version_has_recipe(make: Any) -> None:
    assert {MODELS / recipe.name / recipe.version for recipe in make.RECIPES} == set(VERSIONS)
