"""Sharing: what several gateways let through together, by arithmetic and a clock of the test."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import Client, Quota
from berth_gateway.limits.quota import Counter, Quotas
from berth_gateway.limits.sharing import Outbox, Sharing, State, Told
from berth_gateway.limits.token_bucket import TokenBuckets

START = datetime(2026, 5, 5, 12, 30, tzinfo=UTC)
INTERVAL = 0.1
STEP = 0.01


@dataclass
class Clock:
    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass
class Side:
    """One gateway: its limits, and what it let through."""

    clock: Clock
    client: Client
    name: str
    counters: dict[str, Counter] = field(default_factory=dict)
    passed: int = 0
    since_told: int = 0

    def __post_init__(self) -> None:
        self.throttle = TokenBuckets(self.clock.monotonic)
        self.quotas = Quotas(self.clock.utc, self.counters)
        self.sharing = Sharing(
            self.name, self.throttle, self.quotas, {self.client.name: self.client}.get
        )

    def ask(self) -> bool:
        """One request of the client."""
        if not self.throttle.take(self.client).is_allowed:
            return False
        quota = self.client.quota
        if quota is not None and not self.quotas.take(self.client.name, quota).is_allowed:
            return False
        self.passed += 1
        self.since_told += 1
        return True

    def state(self) -> State:
        """As it comes out of the other end of a connection."""
        return msgspec.json.decode(msgspec.json.encode(self.sharing.state()), type=State)


def build_client(rate: float = 1e6, burst: int = 10**6, quota: int | None = None) -> Client:
    return Client(
        name="a",
        key_sha256=["0" * 64],
        rate_per_second=rate,
        burst=burst,
        quota=None if quota is None else Quota(requests=quota, period="hour"),
    )


def sides(count: int, of: Client) -> tuple[Clock, list[Side]]:
    """Gateways that have all joined."""
    clock = Clock()
    made = [Side(clock, of, f"gateway {n}") for n in range(count)]
    for side in made:
        side.sharing.join(None)
    return clock, made


def message(sender: Side, outbox: Outbox) -> Told | None:
    told = sender.sharing.message(outbox)
    return None if told is None else msgspec.json.decode(msgspec.json.encode(told), type=Told)


class Exchange:
    """All tell all others, and nothing is lost."""

    def __init__(self, gateways: list[Side]) -> None:
        self._sides = gateways
        self._boxes = {
            (a.name, b.name): a.sharing.outbox() for a in gateways for b in gateways if a is not b
        }

    def __call__(self) -> None:
        told = []
        for side in self._sides:
            to = [(b, self._boxes[side.name, b.name]) for b in self._sides if b is not side]
            side.sharing.share_out(box for _, box in to)
            told += [(receiver, message(side, box)) for receiver, box in to]
            side.since_told = 0
        for receiver, what in told:
            if what is not None:
                receiver.sharing.hear(what)


rates = st.floats(min_value=0.5, max_value=200)
bursts = st.integers(min_value=1, max_value=50)
demands = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=150
)  # requests at each gateway in each step


@given(rates, bursts, demands)
def test_beyond_one_bucket_passes_only_what_the_other_could_not_have_told_yet(
    rate: float, burst: int, demands: list[tuple[int, int]]
) -> None:
    clock, (one, two) = sides(2, build_client(rate, burst))
    exchange = Exchange([one, two])
    for n, demand in enumerate(demands):
        clock.seconds = n * STEP
        if n % round(INTERVAL / STEP) == 0:
            exchange()
        for side, other, count in ((one, two, demand[0]), (two, one, demand[1])):
            for _ in range(count):
                if side.ask():
                    passed = one.passed + two.passed
                    assert passed <= burst + rate * clock.seconds + other.since_told + 1e-6


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("rate", "burst"), [(20, 40), (100, 10), (200, 1), (5, 1), (0.5, 20)])
def test_asked_without_a_pause_they_let_through_what_one_would(
    count: int, rate: float, burst: int
) -> None:
    """From an empty bucket: the limit, and what comes in within one interval at each other."""
    clock, gateways = sides(count, build_client(rate, burst))
    exchange = Exchange(gateways)
    while gateways[0].ask():
        pass
    exchange()
    at_first = gateways[0].passed
    assert at_first == burst
    for n in range(1, 3000):
        clock.seconds = n * STEP
        for side in gateways:
            side.ask()
        if n % round(INTERVAL / STEP) == 0:
            exchange()
        passed = sum(side.passed for side in gateways) - at_first
        slack = (count - 1) * (rate * INTERVAL + 1)
        assert passed <= rate * clock.seconds + slack + 1e-6
    # Nor less, except for a bucket that runs over between two requests.
    if burst >= rate * STEP:
        assert passed >= rate * clock.seconds - slack - count


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_two_bursts_at_once_are_made_good_before_anything_else_passes(rate: float) -> None:
    clock, gateways = sides(2, build_client(rate, 20))
    exchange = Exchange(gateways)
    for side in gateways:
        assert [side.ask() for _ in range(21)] == [True] * 20 + [False]
    exchange()
    while clock.seconds < 20 / rate:
        assert not any(side.ask() for side in gateways)
        clock.seconds += STEP
    decision = gateways[0].throttle.take(gateways[0].client)
    assert decision.remaining == 0
    clock.seconds += 1 / rate + 2 * STEP
    assert gateways[0].ask()


def test_a_wrong_number_shuts_nobody_out_for_good() -> None:
    clock, (one, _) = sides(2, build_client(10, 30))
    one.sharing.hear(Told(origin="other", tokens={"a": 10**9, "nobody": 5}, quotas={}))
    decision = one.throttle.take(one.client)
    assert (decision.is_allowed, decision.remaining) == (False, 0)
    assert (decision.reset_seconds, decision.retry_after_seconds) == (6, 4)
    clock.seconds = decision.retry_after_seconds
    assert one.ask()


@given(
    st.integers(1, 60), demands, st.lists(st.sampled_from(["deliver", "lose", "double", "late"]))
)
def test_a_quota_is_right_once_all_is_told(
    limit: int, demands: list[tuple[int, int]], fates: list[str]
) -> None:
    """Whatever becomes of messages on the way, the next that comes through makes up for it."""
    clock, (one, two) = sides(2, build_client(quota=limit))
    boxes = {one.name: one.sharing.outbox(), two.name: two.sharing.outbox()}
    held: list[tuple[Side, Told]] = []

    def exchange(fate: str) -> None:
        for sender, receiver in ((one, two), (two, one)):
            box = boxes[sender.name]
            sender.sharing.share_out([box])
            told = message(sender, box)
            if told is None:
                continue
            if fate in ("deliver", "double"):
                receiver.sharing.hear(told)
            if fate == "double":
                receiver.sharing.hear(told)
            if fate in ("lose", "late", "double"):
                box.failed()
            if fate == "late":
                held.append((receiver, told))

    for n, demand in enumerate(demands):
        clock.seconds += STEP
        for side, count in zip((one, two), demand, strict=True):
            for _ in range(count):
                side.ask()
        exchange(fates[n] if n < len(fates) else "deliver")
    for receiver, told in held:
        receiver.sharing.hear(told)
    exchange("deliver")
    asked = sum(map(sum, demands))
    assert one.quotas.used() == two.quotas.used() or not asked
    assert sum(one.quotas.used().values()) == one.passed + two.passed
    assert one.passed + two.passed >= min(limit, asked)


@given(st.integers(1, 100), demands)
def test_a_quota_lets_through_no_more_than_the_others_could_not_have_told_yet(
    limit: int, demands: list[tuple[int, int]]
) -> None:
    clock, (one, two) = sides(2, build_client(quota=limit))
    exchange = Exchange([one, two])
    for n, demand in enumerate(demands):
        clock.seconds = n * STEP
        if n % round(INTERVAL / STEP) == 0:
            exchange()
        for side, other, count in ((one, two, demand[0]), (two, one, demand[1])):
            for _ in range(count):
                if side.ask():
                    assert one.passed + two.passed <= limit + other.since_told


def test_a_gateway_that_starts_knows_what_was_used_and_hears_nothing_twice() -> None:
    clock, (one, two) = sides(2, build_client(quota=1000))
    exchange = Exchange([one, two])
    for side, count in ((one, 5), (two, 7)):
        for _ in range(count):
            side.ask()
    exchange()
    two.ask()  # Not told yet.
    third = Side(clock, one.client, "third")
    third.sharing.join(one.state())
    assert third.quotas.used() == {"a": 12}
    # It is new to the others: they tell all that they counted.
    for side in (one, two):
        told = message(side, side.sharing.outbox())
        assert told is not None
        third.sharing.hear(told)
    assert third.quotas.used() == {"a": 13}
    for _ in range(3):
        third.ask()
    box = third.sharing.outbox()
    third.sharing.share_out([box])
    told = message(third, box)
    assert told is not None
    one.sharing.hear(told)
    exchange()
    assert one.quotas.used() == third.quotas.used() == {"a": 16}


def test_a_gateway_that_comes_back_begins_with_the_larger_of_file_and_peer() -> None:
    clock, (one, _) = sides(2, build_client(quota=1000))
    for _ in range(5):
        one.ask()
    for of_file, used in ((3, 5), (8, 8)):
        counter = Counter(period="hour", start=START.replace(minute=0), used=of_file)
        back = Side(clock, one.client, "back", {"a": counter})
        back.sharing.join(one.state())
        assert back.quotas.used() == {"a": used}


def test_until_it_has_joined_nothing_of_the_others_is_added() -> None:
    """It would be a part of what the state tells, or of what its file held."""
    clock, (one, _) = sides(2, build_client(quota=1000))
    late = Side(clock, one.client, "late")
    box = one.sharing.outbox()
    for _ in range(5):
        one.ask()
    one.sharing.share_out([box])
    told = message(one, box)
    assert told is not None
    late.sharing.hear(told)
    assert late.quotas.used() == {}
    # Its own stays counted when it joins after all, also what the other has heard of it.
    for _ in range(2):
        late.ask()
    own = late.sharing.outbox()
    to_one = message(late, own)
    assert to_one is not None
    one.sharing.hear(to_one)
    late.ask()
    late.sharing.join(one.state())
    assert one.quotas.used() == {"a": 7}
    assert late.quotas.used() == {"a": 8}


def test_a_new_period_begins_at_0_for_all() -> None:
    clock, (one, two) = sides(2, build_client(quota=1000))
    exchange = Exchange([one, two])
    one.ask()
    exchange()
    clock.seconds = 3600
    for _ in range(3):
        one.ask()
    exchange()
    assert one.quotas.used() == two.quotas.used() == {"a": 3}
    one.sharing.forget_past()
    two.sharing.forget_past()
    one.ask()
    exchange()
    assert two.quotas.used() == {"a": 4}


def test_a_period_that_has_not_begun_here_is_counted_once_it_has() -> None:
    """The other's clock is ahead."""
    clock, (one, two) = sides(2, build_client(quota=1000))
    two.ask()
    ahead = {"a": Counter(period="hour", start=START.replace(hour=13, minute=0), used=2)}
    one.sharing.hear(Told(origin="ahead", tokens={}, quotas=ahead))
    assert one.quotas.used() == {}
    clock.seconds = 1801
    ahead["a"].used = 3
    one.sharing.hear(Told(origin="ahead", tokens={}, quotas=ahead))
    assert one.quotas.used() == {"a": 3}


def test_another_period_than_that_of_the_own_table_is_not_counted() -> None:
    """One of the two has not read the new table yet."""
    _, (one, _) = sides(2, build_client(quota=1000))
    one.ask()
    day = {"a": Counter(period="day", start=START.replace(hour=0, minute=0), used=2)}
    one.sharing.hear(Told(origin="other", tokens={}, quotas=day))
    assert one.quotas.used() == {"a": 1}


def test_nothing_to_say_is_not_said() -> None:
    _, (one, _) = sides(2, build_client(quota=10))
    box = one.sharing.outbox()
    one.sharing.share_out([box])
    assert one.sharing.message(box) is None
    one.ask()
    one.sharing.share_out([box])
    assert one.sharing.message(box) is not None
    one.sharing.share_out([box])
    assert one.sharing.message(box) is None


def test_a_word_to_itself_is_not_counted() -> None:
    _, (one, _) = sides(2, build_client(rate=1, burst=5))
    one.sharing.hear(Told(origin=one.name, tokens={"a": 5}, quotas={}))
    assert one.ask()


def test_a_message_gives_no_tokens_back() -> None:
    text = b'{"origin": "x", "tokens": {"a": -5}, "quotas": {}}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Told)
