"""The id that a request keeps from the client through gateway and berth."""

import re
import secrets

from berth_gateway.exchange import RawHeaders

_GOOD = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")


def request_id(headers: RawHeaders) -> str:
    """The `x-request-id` that the client gave when it is a short, plain one; else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _GOOD.fullmatch(value):
            return value.decode()
    return secrets.token_hex(16)
