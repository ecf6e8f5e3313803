"""Known addresses: what a gateway remembers of them, and when it reports them to the others."""

from itertools import pairwise

import pytest

from berth_gateway.limits.known_addresses import KEPT_SECONDS, KnownAddresses


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> KnownAddresses:
    """Addresses that the gateway shares with others."""
    addresses = KnownAddresses(clock)
    addresses.unreported = {}
    return addresses


def take_unreported(known: KnownAddresses) -> list[tuple[str, str]]:
    """Return the pairs to report, as reported from now on."""
    assert known.unreported is not None
    pairs = [*known.unreported]
    known.unreported.clear()
    return pairs


def test_only_new_addresses_of_this_gateway_are_reported_to_the_others(
    known: KnownAddresses,
) -> None:
    known.learn("a", "192.0.2.1", 5)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2"):
        known.add("a", address)
    assert known.has("a", "192.0.2.1")
    assert take_unreported(known) == [("a", "192.0.2.2")]


def test_address_in_use_is_reported_again_before_others_forget_it(
    known: KnownAddresses, clock: Clock
) -> None:
    known.add("a", "192.0.2.1")
    reports = [clock.now for _ in take_unreported(known)]
    for _ in range(40 * 24):
        clock.now += 3600
        known.add("a", "192.0.2.1")
        reports += [clock.now for _ in take_unreported(known)]
    gaps = [later - earlier for earlier, later in pairwise(reports)]
    assert max(gaps) < KEPT_SECONDS / 2
    assert len(reports) < 50


def test_learned_address_in_use_is_reported_when_its_report_is_old(
    known: KnownAddresses, clock: Clock
) -> None:
    known.learn("a", "192.0.2.1", KEPT_SECONDS / 2)
    known.add("a", "192.0.2.1")
    assert take_unreported(known) == [("a", "192.0.2.1")]
    known.learn("a", "192.0.2.1", KEPT_SECONDS / 2)
    clock.now += 60
    assert known.get_seconds_unused("a", "192.0.2.1") == 60


def test_all_addresses_are_reported_again_with_the_time_of_their_last_use(
    known: KnownAddresses, clock: Clock
) -> None:
    known.add("a", "192.0.2.1")
    known.learn("b", "192.0.2.2", 500)
    take_unreported(known)
    clock.now += 100
    known.report_all_again()
    assert take_unreported(known) == [("a", "192.0.2.1"), ("b", "192.0.2.2")]
    assert known.get_seconds_unused("a", "192.0.2.1") == 100
    assert known.get_seconds_unused("b", "192.0.2.2") == 600
    assert known.get_seconds_unused("b", "192.0.2.1") is None


def test_known_addresses_are_bounded_per_client(known: KnownAddresses) -> None:
    for number in range(1000):
        known.add("a", f"192.0.2.{number}")
    assert not known.has("a", "192.0.2.935")
    assert known.has("a", "192.0.2.936")
    assert not known.has("b", "192.0.2.999")
    known.keep_only(set())
    assert not known.has("a", "192.0.2.999")
