"""The dated tables have one form, and nothing in them is unread."""

import re
from datetime import date
from pathlib import Path
from typing import get_args

import pytest

from berth.platforms.aws.tables import read_table
from berth.spec.cluster import AddonName
from tests.aws.reality.tables import list_tables
from tests.repository import REPOSITORY

_HEAD = {"recorded", "sources"}
_READERS = ("infra/berth/platforms/aws", "infra/berth/cli", "components/pulumi_berth/aws")


def _read_sources(*directories: str) -> str:
    paths = [path for one in directories for path in Path(REPOSITORY / one).glob("*.py")]
    return "\n".join(path.read_text() for path in paths)


@pytest.mark.parametrize("name", list_tables())
def test_table_states_its_day_and_its_sources(name: str) -> None:
    table = list_tables()[name]
    date.fromisoformat(table["recorded"])
    assert table["sources"]
    assert all(isinstance(text, str) and text for text in table["sources"].values())


@pytest.mark.parametrize("name", ["capacity", "prices", "quotas"])
def test_every_part_of_a_table_is_read(name: str) -> None:
    source = _read_sources(*_READERS)
    parts = set(read_table(name)) - _HEAD
    unread = [part for part in parts if not re.search(f"\\[['\"]{part}['\"]\\]", source)]
    assert unread == []


def test_every_price_is_used() -> None:
    source = (REPOSITORY / "infra/berth/platforms/aws/cost.py").read_text()
    prices = read_table("prices")["prices"]
    assert [key for key in prices if f'"{key}"' not in source] == []


def test_every_addon_of_the_capacity_table_can_be_configured() -> None:
    table = read_table("capacity")
    known = {*table["addons"], *table["addon_daemons"]}
    assert known <= set(get_args(AddonName))
