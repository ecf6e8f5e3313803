"""Exchange: what becomes known of one request while it is answered."""

import time
from dataclasses import dataclass, field

RawHeaders = list[tuple[bytes, bytes]]


@dataclass
class Exchange:
    """One request and its answer, for the answer's headers, the access log and the metrics.

    Attributes:
        request_id, method, path: `path` is without its query, which may hold anything.
        client, model, version: empty until known; the model only when it is a real one.
        status: of the answer; 499 when the client left first, 0 until known.
        request_bytes, answer_bytes: of the bodies.
        answer_headers: what the gateway adds to whatever answer there will be.
        begun: the head of the answer is sent, so that no other one can be given.
        started: on the monotonic clock, seconds.
    """

    request_id: str
    method: str
    path: str
    client: str = ""
    model: str = ""
    version: str = ""
    status: int = 0
    request_bytes: int = 0
    answer_bytes: int = 0
    answer_headers: RawHeaders = field(default_factory=list)
    begun: bool = False
    started: float = field(default_factory=time.monotonic)
