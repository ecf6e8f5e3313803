"""The resources that the stacks of this repository declare, computed once."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from berth.operations.declarations import read_declarations
from tests.repository import REPOSITORY


@pytest.fixture(scope="session")
def declared() -> Callable[[str], list[dict[str, Any]]]:
    """Return a function that returns the declared resources of a stack."""

    @cache
    def read(stack: str) -> list[dict[str, Any]]:
        return read_declarations(str(REPOSITORY / f"Pulumi.{stack}.yaml"))

    return read
