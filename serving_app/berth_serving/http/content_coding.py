"""Compressed request bodies and responses: gzip, and deflate for requests.

Codings are defined in https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1. The gateway passes
bodies and these headers on unchanged, so a shadow gets the same body.
"""

import zlib
from collections.abc import Mapping

from berth_protocol.errors import RequestError
from berth_serving.http.response import Response

MIN_COMPRESSED_BYTES = 4 << 10
"""A shorter response fits into a few packets anyway."""

_GZIP, _DEFLATE = "gzip", "deflate"
_NAMES = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _DEFLATE}
# zlib's `wbits`: with a gzip header, with a zlib header, and without any, as some clients send.
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
# The fastest level. Numbers as text shrink to less than half at any level, at 60 to 90 MB/s on a
# slow core. Random FP32 values shrink by 7 %, at 20 to 30 MB/s: a response of 200 kB, which a GPU
# computes in 1.5 ms, would take 10 ms more. Most HTTP clients accept gzip unless told otherwise.
_LEVEL = 1
_WORTHWHILE = 0.7
# Whether it is worthwhile is measured with a part from the middle, which holds values.
_SAMPLE_BYTES = 8 << 10


def read_content_coding(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the coding of a request body, or None if it is not compressed.

    Raises:
        RequestError: 415, for another coding or several.
    """
    text = headers.get(b"content-encoding", b"").decode("latin-1").lower()
    codings = [name for part in text.split(",") if (name := part.strip()) not in ("", "identity")]
    if not codings:
        return None
    coding = _NAMES.get(codings[0]) if len(codings) == 1 else None
    if coding is None:
        raise RequestError(
            415,
            "This Content-Encoding is not supported. Send the body with gzip or deflate, or without"
            " compression.",
            {"accept-encoding": "gzip, deflate"},
        )
    return coding


def inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return a body without compression. It never takes more than `max_bytes`.

    Raises:
        RequestError: 413 if the inflated body is too long, 400 if it is not valid.
    """
    if coding == _GZIP:
        bits = _GZIP_BITS
    else:
        # A zlib header has these values, and a raw deflate stream cannot start so.
        is_zlib = len(body) > 1 and body[0] & 15 == 8 and not (body[0] * 256 + body[1]) % 31
        bits = _ZLIB_BITS if is_zlib else _RAW_BITS
    parts: list[bytes] = []
    remaining, rest = max_bytes, body
    while True:
        inflater = zlib.decompressobj(bits)
        try:
            parts.append(inflater.decompress(rest, remaining + 1))
        except zlib.error:
            raise _invalid(coding) from None
        remaining -= len(parts[-1])
        if remaining < 0:
            raise RequestError(
                413,
                f"The request body exceeds the limit of {max_bytes} bytes after decompression."
                " Send fewer rows in each request.",
            )
        if not inflater.eof:
            raise _invalid(coding)
        # A gzip file can have several members, one after another.
        rest = inflater.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if coding != _GZIP or len(parts) > _MAX_MEMBERS:
            raise _invalid(coding)


# An empty member has 20 bytes, and each takes a new state of zlib.
_MAX_MEMBERS = 100


def accepts_gzip(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the client accepts a compressed response."""
    for item in headers.get(b"accept-encoding", b"").decode("latin-1").lower().split(","):
        name, _, parameter = item.partition(";")
        if name.strip() in ("gzip", "x-gzip", "*"):
            quality = parameter.strip().removeprefix("q=").strip()
            return quality.strip("0.") != "" if quality else True
    return False


def compress(response: Response) -> Response:
    """Return the response with gzip, or unchanged if that saves little."""
    start = max(0, len(response.body) - _SAMPLE_BYTES) // 2
    sample = response.body[start : start + _SAMPLE_BYTES]
    if len(zlib.compress(sample, _LEVEL)) > len(sample) * _WORTHWHILE:
        return response
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP_BITS)
    body = packer.compress(response.body) + packer.flush()
    headers = [*response.headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
    return Response(response.status, headers, body)


def _invalid(coding: str) -> RequestError:
    return RequestError(
        400, f"The request body is not valid {coding}. Send a complete body in this coding."
    )
