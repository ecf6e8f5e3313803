"""What all unit tests share."""

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_event_loop() -> Iterator[None]:
    """Give each test its own event loop: Pulumi's mocks use the current one and create none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
