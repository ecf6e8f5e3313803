"""The head of an HTTP/1.1 request: its maximum length, and what Berth refuses in it."""

import re
from collections.abc import Iterable, Sequence

from berth_protocol.errors import RequestError

MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 256
"""A head of 64 KiB has up to 13,000 headers, whose objects take 0.7 MiB."""
VERSIONS = ("1.0", "1.1")

# The host of RFC 3986, with a port: https://www.rfc-editor.org/rfc/rfc9110#section-7.2
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


def find_head_error(
    version: str, target: bytes, hosts: Sequence[bytes], codings: Sequence[bytes]
) -> RequestError | None:
    """Return why a head is refused: a server in front of this one could read it differently.

    Args:
        version: HTTP version, such as `1.1`.
        target: The request target: a path or an absolute URL.
        hosts: The values of all `Host` headers.
        codings: The values of all `Transfer-Encoding` headers.
    """
    count = len(hosts)
    if version not in VERSIONS:
        return RequestError(400, f"HTTP/{version} is not supported. Send an HTTP/1.1 request.")
    if count > 1 or (count == 0 and version == "1.1"):
        return RequestError(400, f"The Host header occurs {count} times. Send it once.")
    if count and not _HOST.fullmatch(hosts[0]):
        return RequestError(400, "The Host header is invalid. Send host:port.")
    if b"#" in target:
        return RequestError(400, "The request target has a fragment. Remove the #.")
    # https://www.rfc-editor.org/rfc/rfc9112#section-6.1. Content-Encoding compresses a body.
    if codings and version == "1.0":
        return RequestError(400, "HTTP/1.0 has no Transfer-Encoding. Send Content-Length.")
    if len(codings) > 1 or any(coding.lower() != b"chunked" for coding in codings):
        return RequestError(400, "The Transfer-Encoding is not supported. Send chunked, once.")
    return None


def head_size(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the length of a head, except for its method and version."""
    return len(target) + sum(len(name) + len(value) + len(": \r\n") for name, value in headers)


def head_too_long() -> RequestError:
    """Return the error of a head beyond the maximum length."""
    return RequestError(
        431, f"The request head exceeds {MAX_HEAD_BYTES} bytes. Send fewer headers."
    )


def too_many_headers() -> RequestError:
    """Return the error of a head with more headers than allowed."""
    return RequestError(
        431, f"The request has more than {MAX_HEADERS} headers. Send fewer headers."
    )


def framing_too_long() -> RequestError:
    """Return the error of a body with too many bytes that are not data."""
    return RequestError(
        431,
        f"The trailers and chunk extensions of the body exceed {MAX_HEAD_BYTES} bytes."
        " Send the body without them.",
    )
