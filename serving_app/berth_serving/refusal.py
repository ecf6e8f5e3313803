"""A request that is not answered with a prediction, and what its sender is told."""

from collections.abc import Mapping


class RefusalError(Exception):
    """Ends a request with `status` and the protocol's `{"error": message}`."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def overloaded(message: str) -> RefusalError:
    """This berth has too much to do: told at once, with when to come again (seconds)."""
    return RefusalError(503, message, {"retry-after": "1"})
