"""Sharing of limits between gateways, without a network and with a clock that tests set."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import Client, Quota
from berth_gateway.limits.quota import QuotaCounter, Quotas
from berth_gateway.limits.sharing import Outbox, UsageSharing, UsageSnapshot, UsageUpdate
from berth_gateway.limits.token_bucket import TokenBuckets

START = datetime(2026, 5, 5, 12, 30, tzinfo=UTC)
INTERVAL = 0.1
STEP = 0.01


@dataclass
class Clock:
    """A clock that tests set."""

    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass
class Gateway:
    """One gateway, its limits, and the requests that it allowed."""

    clock: Clock
    client: Client
    name: str
    counters: dict[str, QuotaCounter] = field(default_factory=dict)
    allowed: int = 0
    unreported: int = 0

    def __post_init__(self) -> None:
        self.buckets = TokenBuckets(self.clock.monotonic)
        self.quotas = Quotas(self.clock.utc, self.counters)
        self.sharing = UsageSharing(
            self.name, self.buckets, self.quotas, {self.client.name: self.client}.get
        )

    def send_request(self) -> bool:
        """Send one request of the client, and return whether it is allowed."""
        if not self.buckets.take(self.client).is_allowed:
            return False
        quota = self.client.quota
        if quota is not None and not self.quotas.consume(self.client.name, quota).is_allowed:
            return False
        self.allowed += 1
        self.unreported += 1
        return True

    def take_snapshot(self) -> UsageSnapshot:
        """Return the snapshot as a peer receives it."""
        return msgspec.json.decode(
            msgspec.json.encode(self.sharing.take_snapshot()), type=UsageSnapshot
        )


def build_client(rate: float = 1e6, burst: int = 10**6, quota: int | None = None) -> Client:
    """Return a client; `quota` is the number of requests per hour."""
    return Client(
        name="a",
        key_sha256=["0" * 64],
        rate_per_second=rate,
        burst=burst,
        quota=None if quota is None else Quota(requests=quota, period="hour"),
    )


def create_gateways(count: int, client: Client) -> tuple[Clock, list[Gateway]]:
    """Create gateways that have joined."""
    clock = Clock()
    gateways = [Gateway(clock, client, f"gateway {n}") for n in range(count)]
    for gateway in gateways:
        gateway.sharing.join(None)
    return clock, gateways


def send_update(sender: Gateway, outbox: Outbox) -> UsageUpdate | None:
    """Return the update in an outbox as a peer receives it, or None if it is empty."""
    update = sender.sharing.pop_update(outbox)
    if update is None:
        return None
    return msgspec.json.decode(msgspec.json.encode(update), type=UsageUpdate)


class UpdateExchange:
    """Sends the updates of all gateways to all others, without a loss."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self._gateways = gateways
        self._outboxes = {
            (a.name, b.name): a.sharing.create_outbox()
            for a in gateways
            for b in gateways
            if a is not b
        }

    def __call__(self) -> None:
        updates = []
        for gateway in self._gateways:
            peers = [
                (b, self._outboxes[gateway.name, b.name])
                for b in self._gateways
                if b is not gateway
            ]
            gateway.sharing.queue_updates(outbox for _, outbox in peers)
            updates += [(receiver, send_update(gateway, outbox)) for receiver, outbox in peers]
            gateway.unreported = 0
        for receiver, update in updates:
            if update is not None:
                receiver.sharing.apply_update(update)


rates = st.floats(min_value=0.5, max_value=200)
bursts = st.integers(min_value=1, max_value=50)
demands = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=150
)  # requests at each gateway in each step


@given(rates, bursts, demands)
def test_excess_over_one_bucket_is_only_unreported_requests(
    rate: float, burst: int, demands: list[tuple[int, int]]
) -> None:
    clock, (gateway_1, gateway_2) = create_gateways(2, build_client(rate, burst))
    exchange = UpdateExchange([gateway_1, gateway_2])
    for n, demand in enumerate(demands):
        clock.seconds = n * STEP
        if n % round(INTERVAL / STEP) == 0:
            exchange()
        for gateway, other, count in (
            (gateway_1, gateway_2, demand[0]),
            (gateway_2, gateway_1, demand[1]),
        ):
            for _ in range(count):
                if gateway.send_request():
                    allowed = gateway_1.allowed + gateway_2.allowed
                    assert allowed <= burst + rate * clock.seconds + other.unreported + 1e-6


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("rate", "burst"), [(20, 40), (100, 10), (200, 1), (5, 1), (0.5, 20)])
def test_continuous_requests_to_all_gateways_get_limit_of_one(
    count: int, rate: float, burst: int
) -> None:
    """The excess over the limit is what the other gateways allow within one interval."""
    clock, gateways = create_gateways(count, build_client(rate, burst))
    exchange = UpdateExchange(gateways)
    while gateways[0].send_request():
        pass
    exchange()
    initially_allowed = gateways[0].allowed
    assert initially_allowed == burst
    for n in range(1, 3000):
        clock.seconds = n * STEP
        for gateway in gateways:
            gateway.send_request()
        if n % round(INTERVAL / STEP) == 0:
            exchange()
        allowed = sum(gateway.allowed for gateway in gateways) - initially_allowed
        slack = (count - 1) * (rate * INTERVAL + 1)
        assert allowed <= rate * clock.seconds + slack + 1e-6
    # The total is not lower either, unless a bucket overflows between two requests.
    if burst >= rate * STEP:
        assert allowed >= rate * clock.seconds - slack - count


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_two_simultaneous_bursts_block_requests_until_repaid(rate: float) -> None:
    clock, gateways = create_gateways(2, build_client(rate, 20))
    exchange = UpdateExchange(gateways)
    for gateway in gateways:
        assert [gateway.send_request() for _ in range(21)] == [True] * 20 + [False]
    exchange()
    while clock.seconds < 20 / rate:
        assert not any(gateway.send_request() for gateway in gateways)
        clock.seconds += STEP
    decision = gateways[0].buckets.take(gateways[0].client)
    assert decision.remaining == 0
    clock.seconds += 1 / rate + 2 * STEP
    assert gateways[0].send_request()


def test_wrong_token_count_does_not_lock_out_client_permanently() -> None:
    clock, (gateway_1, _) = create_gateways(2, build_client(10, 30))
    gateway_1.sharing.apply_update(
        UsageUpdate(origin="other", tokens={"a": 10**9, "unknown": 5}, quotas={})
    )
    decision = gateway_1.buckets.take(gateway_1.client)
    assert (decision.is_allowed, decision.remaining) == (False, 0)
    assert (decision.reset_seconds, decision.retry_after_seconds) == (6, 4)
    clock.seconds = decision.retry_after_seconds
    assert gateway_1.send_request()


@given(
    st.integers(1, 60), demands, st.lists(st.sampled_from(["deliver", "lose", "duplicate", "late"]))
)
def test_quota_is_exact_after_all_updates(
    limit: int, demands: list[tuple[int, int]], fates: list[str]
) -> None:
    """A delivered update corrects lost, duplicate and late updates."""
    clock, (gateway_1, gateway_2) = create_gateways(2, build_client(quota=limit))
    outboxes = {
        gateway_1.name: gateway_1.sharing.create_outbox(),
        gateway_2.name: gateway_2.sharing.create_outbox(),
    }
    delayed: list[tuple[Gateway, UsageUpdate]] = []

    def exchange(fate: str) -> None:
        for sender, receiver in ((gateway_1, gateway_2), (gateway_2, gateway_1)):
            outbox = outboxes[sender.name]
            sender.sharing.queue_updates([outbox])
            update = send_update(sender, outbox)
            if update is None:
                continue
            if fate in ("deliver", "duplicate"):
                receiver.sharing.apply_update(update)
            if fate == "duplicate":
                receiver.sharing.apply_update(update)
            if fate in ("lose", "late", "duplicate"):
                outbox.mark_failed()
            if fate == "late":
                delayed.append((receiver, update))

    for n, demand in enumerate(demands):
        clock.seconds += STEP
        for gateway, count in zip((gateway_1, gateway_2), demand, strict=True):
            for _ in range(count):
                gateway.send_request()
        exchange(fates[n] if n < len(fates) else "deliver")
    for receiver, update in delayed:
        receiver.sharing.apply_update(update)
    exchange("deliver")
    requested = sum(map(sum, demands))
    assert gateway_1.quotas.get_used() == gateway_2.quotas.get_used() or not requested
    assert sum(gateway_1.quotas.get_used().values()) == gateway_1.allowed + gateway_2.allowed
    assert gateway_1.allowed + gateway_2.allowed >= min(limit, requested)


@given(st.integers(1, 100), demands)
def test_quota_is_exceeded_only_by_unreported_requests(
    limit: int, demands: list[tuple[int, int]]
) -> None:
    clock, (gateway_1, gateway_2) = create_gateways(2, build_client(quota=limit))
    exchange = UpdateExchange([gateway_1, gateway_2])
    for n, demand in enumerate(demands):
        clock.seconds = n * STEP
        if n % round(INTERVAL / STEP) == 0:
            exchange()
        for gateway, other, count in (
            (gateway_1, gateway_2, demand[0]),
            (gateway_2, gateway_1, demand[1]),
        ):
            for _ in range(count):
                if gateway.send_request():
                    assert gateway_1.allowed + gateway_2.allowed <= limit + other.unreported


def test_starting_gateway_takes_over_usage_and_counts_nothing_twice() -> None:
    clock, (gateway_1, gateway_2) = create_gateways(2, build_client(quota=1000))
    exchange = UpdateExchange([gateway_1, gateway_2])
    for gateway, count in ((gateway_1, 5), (gateway_2, 7)):
        for _ in range(count):
            gateway.send_request()
    exchange()
    gateway_2.send_request()  # This request is in no update yet.
    third = Gateway(clock, gateway_1.client, "third")
    third.sharing.join(gateway_1.take_snapshot())
    assert third.quotas.get_used() == {"a": 12}
    # The gateway is new to the others, so they send all of their usage.
    for gateway in (gateway_1, gateway_2):
        update = send_update(gateway, gateway.sharing.create_outbox())
        assert update is not None
        third.sharing.apply_update(update)
    assert third.quotas.get_used() == {"a": 13}
    for _ in range(3):
        third.send_request()
    outbox = third.sharing.create_outbox()
    third.sharing.queue_updates([outbox])
    update = send_update(third, outbox)
    assert update is not None
    gateway_1.sharing.apply_update(update)
    exchange()
    assert gateway_1.quotas.get_used() == third.quotas.get_used() == {"a": 16}


def test_restarted_gateway_uses_larger_count_of_file_and_peer() -> None:
    clock, (gateway_1, _) = create_gateways(2, build_client(quota=1000))
    for _ in range(5):
        gateway_1.send_request()
    for in_file, used in ((3, 5), (8, 8)):
        counter = QuotaCounter(period="hour", start=START.replace(minute=0), used=in_file)
        restarted = Gateway(clock, gateway_1.client, "restarted", {"a": counter})
        restarted.sharing.join(gateway_1.take_snapshot())
        assert restarted.quotas.get_used() == {"a": used}


def test_updates_before_join_are_not_added() -> None:
    """The snapshot of a peer, or the file, already contains this usage."""
    clock, (gateway_1, _) = create_gateways(2, build_client(quota=1000))
    late = Gateway(clock, gateway_1.client, "late")
    outbox = gateway_1.sharing.create_outbox()
    for _ in range(5):
        gateway_1.send_request()
    gateway_1.sharing.queue_updates([outbox])
    update = send_update(gateway_1, outbox)
    assert update is not None
    late.sharing.apply_update(update)
    assert late.quotas.get_used() == {}
    # Its own requests stay counted when it joins, also those that the peer knows of.
    for _ in range(2):
        late.send_request()
    own_outbox = late.sharing.create_outbox()
    own_update = send_update(late, own_outbox)
    assert own_update is not None
    gateway_1.sharing.apply_update(own_update)
    late.send_request()
    late.sharing.join(gateway_1.take_snapshot())
    assert gateway_1.quotas.get_used() == {"a": 7}
    assert late.quotas.get_used() == {"a": 8}


def test_new_period_starts_at_zero_for_all_gateways() -> None:
    clock, (gateway_1, gateway_2) = create_gateways(2, build_client(quota=1000))
    exchange = UpdateExchange([gateway_1, gateway_2])
    gateway_1.send_request()
    exchange()
    clock.seconds = 3600
    for _ in range(3):
        gateway_1.send_request()
    exchange()
    assert gateway_1.quotas.get_used() == gateway_2.quotas.get_used() == {"a": 3}
    gateway_1.sharing.drop_ended_periods()
    gateway_2.sharing.drop_ended_periods()
    gateway_1.send_request()
    exchange()
    assert gateway_2.quotas.get_used() == {"a": 4}


def test_future_period_is_counted_after_it_starts() -> None:
    """The clock of the peer is ahead."""
    clock, (gateway_1, gateway_2) = create_gateways(2, build_client(quota=1000))
    gateway_2.send_request()
    ahead = {"a": QuotaCounter(period="hour", start=START.replace(hour=13, minute=0), used=2)}
    gateway_1.sharing.apply_update(UsageUpdate(origin="ahead", tokens={}, quotas=ahead))
    assert gateway_1.quotas.get_used() == {}
    clock.seconds = 1801
    ahead["a"].used = 3
    gateway_1.sharing.apply_update(UsageUpdate(origin="ahead", tokens={}, quotas=ahead))
    assert gateway_1.quotas.get_used() == {"a": 3}


def test_usage_of_different_period_is_not_counted() -> None:
    """One of the gateways has not loaded the new configuration."""
    _, (gateway_1, _) = create_gateways(2, build_client(quota=1000))
    gateway_1.send_request()
    day = {"a": QuotaCounter(period="day", start=START.replace(hour=0, minute=0), used=2)}
    gateway_1.sharing.apply_update(UsageUpdate(origin="other", tokens={}, quotas=day))
    assert gateway_1.quotas.get_used() == {"a": 1}


def test_empty_outbox_sends_no_update() -> None:
    _, (gateway_1, _) = create_gateways(2, build_client(quota=10))
    outbox = gateway_1.sharing.create_outbox()
    gateway_1.sharing.queue_updates([outbox])
    assert gateway_1.sharing.pop_update(outbox) is None
    gateway_1.send_request()
    gateway_1.sharing.queue_updates([outbox])
    assert gateway_1.sharing.pop_update(outbox) is not None
    gateway_1.sharing.queue_updates([outbox])
    assert gateway_1.sharing.pop_update(outbox) is None


def test_peer_message_from_self_is_ignored() -> None:
    _, (gateway_1, _) = create_gateways(2, build_client(rate=1, burst=5))
    gateway_1.sharing.apply_update(UsageUpdate(origin=gateway_1.name, tokens={"a": 5}, quotas={}))
    assert gateway_1.send_request()


def test_update_with_negative_tokens_is_rejected() -> None:
    text = b'{"origin": "x", "tokens": {"a": -5}, "quotas": {}}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=UsageUpdate)
