"""Exchange: one request and its answer, and what becomes known of them on the way."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

RawHeaders = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass
class Exchange:
    """One request and its answer.

    Attributes:
        method, path, headers: of the request; `path` is without its query.
        receive, send: ASGI's.
        request_id: of the client when it gave one.
        client, model, version: empty until known; only names that the table has.
        status: of the answer; 499 when the client left first, 0 until known.
        request_bytes, answer_bytes: of the bodies.
        answer_headers: what the gateway adds to whatever answer there will be.
        begun: the head of the answer is sent, so that no other one can be given.
        started: on the monotonic clock, seconds.
    """

    method: str
    path: str
    headers: RawHeaders
    receive: Receive
    send: Send
    request_id: str
    client: str = ""
    model: str = ""
    version: str = ""
    status: int = 0
    request_bytes: int = 0
    answer_bytes: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    begun: bool = False
    started: float = field(default_factory=time.monotonic)
