"""The models in this repository are what their cards say."""

import re
from pathlib import Path

import pytest

from serving_app.card import CARD_FILE, digest, read_card, verify_files

MODELS = Path(__file__).resolve().parents[2] / "models"
VERSIONS = sorted(path.parent for path in MODELS.glob(f"*/*/{CARD_FILE}"))


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_files_are_the_cards(folder: Path) -> None:
    card = read_card(folder)
    verify_files(folder, card)
    assert (card.name, card.version) == (folder.parent.name, folder.name)
    assert {path.name for path in folder.iterdir()} == {CARD_FILE, *card.files}
    assert card.metrics
    assert card.description


def test_digits_has_two_versions() -> None:
    assert {folder.name for folder in VERSIONS if folder.parent.name == "digits"} == {"1", "2"}


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_table_tells_the_cards_metrics_and_digest(folder: Path) -> None:
    table = (MODELS / "README.md").read_text()
    row = next(
        line
        for line in table.splitlines()
        if re.match(rf"\| {folder.parent.name} \| {re.escape(folder.name)} \|", line)
    )
    assert digest(folder).removeprefix("sha256:")[:12] in row
    for name, value in read_card(folder).metrics.items():
        assert f"{name} {value:.4f}" in row
