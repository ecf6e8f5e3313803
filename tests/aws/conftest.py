"""One emulated AWS per test process. It is empty at the start of each module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aws.emulation import Emulation, emulated, skip_reason
from tests.aws.program import Program
from tests.aws.recorded_requests import read_requests
from tests.aws.request_shapes import find_violations


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    if reason := skip_reason():
        pytest.skip(reason)
    with emulated(tmp_path_factory.mktemp("aws") / "emulator.log") as emulation:
        yield emulation


@pytest.fixture(scope="module")
def aws(emulator: Emulation) -> Iterator[Emulation]:
    """Return the emulator without resources of other modules.

    At the end, every request of the module's tests followed AWS's model of the service.
    """
    emulator.reset()
    start = emulator.recording.stat().st_size
    yield emulator
    with emulator.recording.open(encoding="utf-8") as file:
        file.seek(start)
        assert find_violations(read_requests(file)) == {}


@pytest.fixture(scope="module")
def new_program(
    aws: Emulation, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Program]:
    def create(name: str) -> Program:
        directory: Path = tmp_path_factory.mktemp(name)
        return Program(directory, aws)

    return create
