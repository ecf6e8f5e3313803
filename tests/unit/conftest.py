"""What all unit tests share."""

import asyncio
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@pytest.fixture(autouse=True, scope="module")
def _loop_of_module() -> Iterator[asyncio.AbstractEventLoop]:
    """Give fixtures of a module an event loop, which Pulumi's mocks use and do not create."""
    with _current_loop() as loop:
        yield loop


@pytest.fixture(autouse=True, scope="module")
def _pickler() -> Iterator[None]:
    """Undo what Pulumi changes in Python's own pickler when it registers a dynamic resource.

    It sorts the entries of every dictionary from then on, and fails where two cannot be compared.
    """
    methods = {name: getattr(pickle._Pickler, name) for name in ("_batch_setitems", "save_dict")}
    yield
    for name, method in methods.items():
        setattr(pickle._Pickler, name, method)


@pytest.fixture(autouse=True)
def _loop_of_test(_loop_of_module: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Give each test its own event loop, whatever earlier tests did to theirs."""
    with _current_loop():
        yield
    asyncio.set_event_loop(_loop_of_module)


@contextmanager
def _current_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()
