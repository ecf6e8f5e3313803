"""Ranges of IPv4 addresses."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

from berth.spec.errors import Problem, refusal
from berth.spec.text import Text

_FORM = r"[0-9]{1,3}(\.[0-9]{1,3}){3}\/[0-9]{1,2}"
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")

_ANY = Text(_FORM, "a range of IPv4 addresses, such as 203.0.113.0/24")
_OWN = Text(_FORM, f"a range of private IPv4 addresses, inside one of {', '.join(_PRIVATE)}")


def _range(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise refusal(Problem((), f"is not allowed; {_ANY.allowed}")) from None
    if str(network) != value:
        raise refusal(Problem((), f"is not the start of its range; {network}"))
    return value


def _private(value: str) -> str:
    network = ipaddress.IPv4Network(value)
    if not any(network.subnet_of(ipaddress.IPv4Network(block)) for block in _PRIVATE):
        raise refusal(Problem((), f"is not private; {_OWN.allowed}"))
    return value


Cidr = Annotated[str, _ANY, AfterValidator(_range)]
PrivateCidr = Annotated[str, _OWN, AfterValidator(_range), AfterValidator(_private)]
