"""The request that a controller asks about: what it says in X-Forwarded-Method and -Uri."""

import re
from urllib.parse import unquote

import httptools

from berth_gateway.exchange import RawHeaders
from berth_gateway.refusal import RefusalError

_METHOD = re.compile(rb"[!-~]{1,32}")


def forwarded_method(headers: RawHeaders) -> str:
    """The client's method.

    Raises:
        RefusalError: 400, it is not said, or not as one word.
    """
    value = _only(headers, b"x-forwarded-method")
    if not _METHOD.fullmatch(value):
        raise RefusalError(400, "X-Forwarded-Method must be a method such as POST")
    return value.decode()


def forwarded_path(headers: RawHeaders) -> str:
    """The client's path, without query and decoded as the server decodes that of its own requests.

    Raises:
        RefusalError: 400, it is not said, or is no path.
    """
    value = _only(headers, b"x-forwarded-uri")
    try:
        path = httptools.parse_url(value).path
    except httptools.HttpParserInvalidURLError:
        path = None
    if path is None:
        raise RefusalError(400, "X-Forwarded-Uri must be a path such as /v2/models/<model>/infer")
    return unquote(path.decode("ascii"))


def _only(headers: RawHeaders, wanted: bytes) -> bytes:
    """The one header of that name; two could be read as either by whoever sent them."""
    values = [value for name, value in headers if name == wanted]
    if len(values) != 1:
        name = wanted.decode().title()
        raise RefusalError(400, f"{name} must be there once: it says what is asked about")
    return values[0]
