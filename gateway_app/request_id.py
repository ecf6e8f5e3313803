"""The id that a request keeps from the client through gateway and berth."""

import re
import secrets

_GOOD = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")


def request_id(given: bytes | None) -> str:
    """The id that the client gave when it is a short, plain one; else a new one."""
    if given is not None and _GOOD.fullmatch(given):
        return given.decode()
    return secrets.token_hex(16)
