"""What the Pulumi program sets for its own process."""

import atexit
import gc
from collections.abc import Callable, Iterator

import pytest

from berth.program import spare_garbage_collection


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    thresholds = gc.get_threshold()
    yield registered
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_objects_of_a_program_are_searched_rarely_and_not_at_its_end(
    at_exit: list[Callable[[], None]],
) -> None:
    gc.set_threshold(700, 10, 10)

    spare_garbage_collection()

    assert gc.isenabled()
    assert gc.get_threshold() > (10_000, 10, 10)
    for function in at_exit:
        function()
    assert len(gc.get_objects()) < gc.get_freeze_count()
