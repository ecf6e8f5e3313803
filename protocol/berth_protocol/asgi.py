"""ASGI types, and how Berth's servers choose the ID of a request."""

import itertools
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from berth_protocol.headers import REQUEST_ID

RawHeaders = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = REQUEST_ID.encode()
# A prefix per process and a counter: reading random bytes for every request would cost more.
_ID_PREFIX = os.urandom(8).hex().encode()
_ID_NUMBERS = itertools.count(1)
_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")


def choose_request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the caller's request ID if it is short and plain; otherwise a new one."""
    for name, value in headers:
        if name == _REQUEST_ID and _VALID_REQUEST_ID.fullmatch(value):
            return value
    return b"%s-%x" % (_ID_PREFIX, next(_ID_NUMBERS))
