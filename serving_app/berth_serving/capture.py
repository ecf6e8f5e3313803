"""Captures a sample of the requests in memory, until an operator reads them.

Nothing is written to a disk or a log. The captured requests end with the process.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from berth_serving.model import Model, ModelError, TensorSpec
from berth_serving.settings import Settings
from berth_serving.tensors import Array, to_json
from berth_serving.text import list_names

MAX_REQUEST_BYTES = 64 << 10
"""Larger requests are not captured, because writing them as JSON would delay others."""


class Capture:
    """Captured requests of one worker, the newest ones within a number of bytes and seconds.

    Args:
        clock: Returns the time in seconds since 1970.
        draw: Returns a random number from 0 to 1 for each request.

    Raises:
        ModelError: If the settings name a tensor that the model does not have: its values would be
            captured although somebody wanted them redacted.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._inputs, self._outputs = model.inputs, model.outputs
        known = {*model.inputs, *model.outputs}
        unknown = [name for name in settings.capture_redact if name not in known]
        if unknown:
            raise ModelError(
                f"BERTH_CAPTURE_REDACT names {list_names(unknown)}, which the model does not have."
                f" It has {list_names(sorted(known))}."
            )
        self._redacted = frozenset(settings.capture_redact)
        self._share = settings.capture_percent / 100
        self._max_bytes = settings.capture_max_bytes
        self._keep_seconds = settings.capture_keep_seconds
        self._clock = clock
        self._draw = draw
        self._lines: deque[tuple[float, bytes]] = deque()
        self._size = 0

    def observe(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Capture a request, if the sample contains it and it is small enough."""
        if self._draw() >= self._share:
            return
        shown = [
            array
            for part in (inputs, outputs)
            for name, array in part.items()
            if name not in self._redacted
        ]
        if sum(map(_count_bytes, shown)) > MAX_REQUEST_BYTES:
            return
        now = self._clock()
        line = orjson.dumps(
            {
                "captured_at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
                "inputs": [self._describe(self._inputs[name], inputs[name]) for name in inputs],
                "outputs": [self._describe(self._outputs[name], outputs[name]) for name in outputs],
            },
            option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
        )
        self._lines.append((now, line))
        self._size += len(line)
        self._remove_old(now)

    def render(self) -> bytes:
        """Return the captured requests, the oldest first, one JSON object in each line."""
        self._remove_old(self._clock())
        return b"".join(line for _, line in self._lines)

    def _describe(self, spec: TensorSpec, array: Array) -> dict[str, Any]:
        described = {
            "name": spec.name,
            "datatype": spec.datatype.name,
            "shape": list(array.shape),
        }
        if spec.name in self._redacted:
            return described | {"redacted": True}
        return described | {"data": to_json(array)}

    def _remove_old(self, now: float) -> None:
        while self._lines and (
            self._size > self._max_bytes or now - self._lines[0][0] > self._keep_seconds
        ):
            self._size -= len(self._lines.popleft()[1])


def _count_bytes(array: Array) -> int:
    return sum(_text_lengths(array)) if array.dtype.kind == "O" else array.nbytes


def _text_lengths(array: Array) -> Iterator[int]:
    return (4 * len(text) for text in array.flat)
