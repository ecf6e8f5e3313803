"""Ranges of IPv4 addresses."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from infra.spec.errors import Problem, refuse

_PRIVATE = [
    ipaddress.IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
]


def _range(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        refuse([Problem((), "is not allowed; a range of IPv4 addresses such as 10.20.0.0/16")])
        return value
    if str(network) != value:
        refuse([Problem((), f"is not the start of its range; {network}")])
    return value


def _private(value: str) -> str:
    if not any(ipaddress.IPv4Network(value).subnet_of(block) for block in _PRIVATE):
        blocks = ", ".join(str(block) for block in _PRIVATE)
        refuse([Problem((), f"is not a range of private addresses; inside one of {blocks}")])
    return value


Cidr = Annotated[str, AfterValidator(_range), Field(examples=["203.0.113.0/24"])]
PrivateCidr = Annotated[Cidr, AfterValidator(_private), Field(examples=["10.20.0.0/16"])]
