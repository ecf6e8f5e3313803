"""One emulated AWS per test process. It is empty at the start of each module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aws.emulation import Emulation, emulated, skip_reason
from tests.aws.program import Program


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "deletes_stacks: runs after the other tests of its module, in every order"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move tests that delete the stacks of their module behind the other tests of the module."""
    for module in {item.path for item in items if item.get_closest_marker("deletes_stacks")}:
        places = [index for index, item in enumerate(items) if item.path == module]
        tests = [items[index] for index in places]
        tests.sort(key=lambda item: item.get_closest_marker("deletes_stacks") is not None)
        for index, item in zip(places, tests, strict=True):
            items[index] = item


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    if reason := skip_reason():
        pytest.skip(reason)
    with emulated(tmp_path_factory.mktemp("aws") / "emulator.log") as emulation:
        yield emulation


@pytest.fixture(scope="module")
def aws(emulator: Emulation) -> Emulation:
    """Return the emulator without resources of other modules."""
    emulator.reset()
    return emulator


@pytest.fixture(scope="module")
def new_program(
    aws: Emulation, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Program]:
    def create(name: str) -> Program:
        directory: Path = tmp_path_factory.mktemp(name)
        return Program(directory, aws)

    return create
