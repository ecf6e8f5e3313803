"""Returned headers: what stands before a berth says in the request what the answer shall have.

A controller can add headers to a request, and not to its answer: `x-berth-return-<name>` comes
back as `<name>`.
"""

import re
from collections.abc import Mapping

_NAMES = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset", b"x-request-id")
_PRINTABLE = re.compile(rb"[!-~]([ -~]{0,126}[!-~])?")

ASKED_BY = {b"x-berth-return-" + name: name for name in _NAMES}
"""The request header that asks for it -> the answer header. There are no others, so that nobody
can have a berth set what it would not set."""


def returned(headers: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The answer headers that a request with `headers` asks for.

    A value that is not 1 to 128 characters of printable ASCII is left out.
    """
    return {
        name: headers[asking]
        for asking, name in ASKED_BY.items()
        if asking in headers and _PRINTABLE.fullmatch(headers[asking])
    }
