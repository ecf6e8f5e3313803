"""Refusal: the answer to a request that goes no further, raised where that is found out."""

from collections.abc import Mapping


class RefusalError(Exception):
    """Ends a request with `status` and {"error": text}.

    Attributes:
        status: HTTP status.
        error: what is wrong and what would be right.
        headers: further answer headers.
    """

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})
