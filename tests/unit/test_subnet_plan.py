"""Subnets of a VPC."""

import ipaddress
from itertools import combinations

import pytest

from pulumi_berth.aws.subnet_plan import subnet_plan

_ZONES = [f"eu-central-1{letter}" for letter in "abcdefgh"]


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("prefix", range(16, 22))
def test_subnets_are_in_the_vpc_and_do_not_overlap(count: int, prefix: int) -> None:
    vpc = ipaddress.IPv4Network(f"10.32.0.0/{prefix}")
    plan = subnet_plan(str(vpc), _ZONES[:count])
    subnets = [ipaddress.IPv4Network(cidr) for zone in plan for cidr in (zone.private, zone.public)]
    assert [zone.zone for zone in plan] == _ZONES[:count]
    assert all(subnet.subnet_of(vpc) for subnet in subnets)
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))


@pytest.mark.parametrize(("fewer", "more"), [(1, 2), (2, 3), (1, 3), (4, 5), (4, 7)])
def test_additional_zone_keeps_existing_subnets(fewer: int, more: int) -> None:
    before, after = (subnet_plan("10.20.0.0/16", _ZONES[:count]) for count in (fewer, more))
    assert after[:fewer] == before


def test_private_subnets_get_most_addresses() -> None:
    (first, *_) = subnet_plan("10.20.0.0/16", _ZONES[:3])
    assert (first.private, first.public) == ("10.20.0.0/18", "10.20.192.0/20")


@pytest.mark.parametrize(
    ("cidr", "count", "message"),
    [
        ("10.0.0.0/25", 3, "use /24 or larger"),
        ("10.0.0.0/23", 4, "use /22 or larger"),
        ("10.0.0.0/16", 8, "8 zones are not supported; use 1 to 7"),
        ("10.0.0.0/16", 0, "0 zones are not supported; use 1 to 7"),
    ],
)
def test_invalid_number_of_zones_or_addresses_is_rejected(
    cidr: str, count: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        subnet_plan(cidr, _ZONES[:count])
