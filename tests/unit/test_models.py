"""The models in this repository match their cards."""

import re
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from berth_protocol.model_card import CARD_FILE, digest, read_card, verify_files
from models import make
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


def _recipes() -> list[Any]:
    """Return each recipe as a parameter. The text model predicts for 8 s."""
    slow = {"docstring-origin": pytest.mark.slow}
    return [
        pytest.param(recipe, marks=slow.get(recipe.name, ()), id=f"{recipe.name}-{recipe.version}")
        for recipe in make.RECIPES
    ]


@pytest.mark.parametrize("recipe", _recipes())
def test_metrics_match_predictions_of_committed_model(recipe: make.Recipe) -> None:
    """Measure the metrics of model.onnx on the held-out rows, without training."""
    directory = MODELS / recipe.name / recipe.version
    _, held_out, _, truth = make.split(*recipe.data())
    session = onnxruntime.InferenceSession(directory / "model.onnx")
    rows = held_out if held_out.dtype == object else held_out.astype("float32")
    labels, probabilities = session.run(["label", "probabilities"], {"input": rows})
    measured = make.measure(labels, probabilities, truth)
    assert measured == pytest.approx(read_card(directory).metrics, abs=1e-4)


def test_every_version_has_recipe() -> None:
    assert {MODELS / recipe.name / recipe.version for recipe in make.RECIPES} == set(VERSIONS)
