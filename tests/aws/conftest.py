"""Emulated AWS for all of these tests, each with a program of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aws.emulation import Emulation, emulated, why_not
from tests.aws.program import Program


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    if reason := why_not():
        pytest.skip(reason)
    with emulated(tmp_path_factory.mktemp("aws") / "emulator.log") as found:
        yield found


@pytest.fixture(scope="session")
def new_program(
    aws: Emulation, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Program]:
    def make(name: str) -> Program:
        folder: Path = tmp_path_factory.mktemp(name)
        return Program(folder, aws)

    return make
