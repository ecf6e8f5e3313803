"""One emulated AWS per test process, and a separate program for each test module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aws.emulation import Emulation, emulated, skip_reason
from tests.aws.program import Program


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    if reason := skip_reason():
        pytest.skip(reason)
    with emulated(tmp_path_factory.mktemp("aws") / "emulator.log") as emulation:
        yield emulation


@pytest.fixture(scope="session")
def new_program(
    aws: Emulation, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Program]:
    def create(name: str) -> Program:
        folder: Path = tmp_path_factory.mktemp(name)
        return Program(folder, aws)

    return create
