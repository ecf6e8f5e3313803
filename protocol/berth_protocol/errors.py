"""The error format of the Open Inference Protocol: a status, and `{"error": message}`."""

from collections.abc import Mapping

import msgspec

from berth_protocol.headers import RETRY_AFTER


class RequestError(Exception):
    """Ends a request with an error response.

    Attributes:
        status: HTTP status.
        message: What happened and what to do.
        headers: Additional response headers.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def overload_error(message: str) -> RequestError:
    """Build a 503 error with a Retry-After header."""
    return RequestError(503, message, {RETRY_AFTER: "1"})


def error_body(message: str) -> bytes:
    """Return the JSON body of an error response."""
    return msgspec.json.encode({"error": message})
