"""Sharing of limits: the arithmetic by which several gateways enforce the limits of one.

Each gateway reports to the others which requests it allowed. For rate limits, an update contains
the tokens that were taken since the last update. Buckets refill quickly, so a lost update is not
repeated. For quotas, an update contains the sender's own total in the period. The receiver adds the
increase, so that a lost, duplicate or late update is corrected by the next one.
"""

from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec

from berth_gateway.config import Client
from berth_gateway.limits.quota import QuotaCounter, Quotas
from berth_gateway.limits.token_bucket import TokenBuckets


class UsageUpdate(msgspec.Struct, kw_only=True):
    """A message from one gateway to another.

    Attributes:
        origin: Identifies the sender's process. It changes at a restart.
        tokens: Client -> tokens taken since the last update.
        quotas: Client -> requests that the sender itself allowed in the current period.
    """

    origin: str
    tokens: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    quotas: dict[str, QuotaCounter]


class UsageSnapshot(msgspec.Struct, kw_only=True):
    """The usage that a starting gateway takes over from another.

    Attributes:
        counters: Client -> all requests that the sender knows of.
        received: Origin -> client -> the requests in `counters` that this gateway allowed. It
            includes every origin, also the sender, so that nothing is added twice.
    """

    counters: dict[str, QuotaCounter]
    received: dict[str, dict[str, QuotaCounter]]


class Outbox:
    """The usage that was not sent to one peer yet.

    Args:
        quotas: Clients whose totals are sent first.
    """

    def __init__(self, quotas: Iterable[str]) -> None:
        self.tokens: dict[str, int] = {}
        self.quotas = set(quotas)
        self._sent: set[str] = set()

    def add(self, tokens: dict[str, int], quotas: Iterable[str]) -> None:
        """Add tokens that were taken, and clients whose total increased."""
        for name, count in tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count
        self.quotas.update(quotas)

    def mark_sent(self) -> None:
        """Empty the outbox: its content is being sent."""
        self.tokens, self.quotas, self._sent = {}, set(), self.quotas

    def mark_failed(self) -> None:
        """Send the quota totals of the last update again."""
        self.quotas |= self._sent


class UsageSharing:
    """The usage of one gateway and of its peers.

    Attributes:
        origin: Identifies this process.
        has_joined: Whether the usage before the start of this process is counted. Until then no
            quota usage of peers is added: it would be incomplete or counted twice.
        has_started: Whether this gateway counts requests, so that peers can ask for a snapshot.

    Args:
        find_client: Returns a client of the active configuration by its name.
    """

    def __init__(
        self,
        origin: str,
        buckets: TokenBuckets,
        quotas: Quotas,
        find_client: Callable[[str], Client | None],
    ) -> None:
        self.origin = origin
        self.has_joined = False
        self.has_started = False
        self._buckets = buckets
        self._quotas = quotas
        self._find_client = find_client
        self._received: dict[str, dict[str, QuotaCounter]] = {}

    def create_outbox(self) -> Outbox:
        """Create the outbox of a new peer."""
        return Outbox(self._quotas.get_local())

    def queue_updates(self, outboxes: Iterable[Outbox]) -> None:
        """Add the requests allowed here since the last call to each outbox."""
        tokens, quotas = self._buckets.pop_taken(), self._quotas.pop_changed_clients()
        for outbox in outboxes:
            outbox.add(tokens, quotas)

    def pop_update(self, outbox: Outbox) -> UsageUpdate | None:
        """Take the content of an outbox as an update. Return None if it is empty."""
        if not outbox.tokens and not outbox.quotas:
            return None
        update = UsageUpdate(
            origin=self.origin, tokens=outbox.tokens, quotas=self._quotas.get_local(outbox.quotas)
        )
        outbox.mark_sent()
        return update

    def apply_update(self, update: UsageUpdate) -> None:
        """Count the requests that a peer allowed."""
        if update.origin == self.origin:
            return
        for name, tokens in update.tokens.items():
            client = self._find_client(name)
            if client is not None:
                self._buckets.debit(client, tokens)
        if not self.has_joined:
            return
        received = self._received.setdefault(update.origin, {})
        for name, total in update.quotas.items():
            increase = total.used - _get_received(received, name, total)
            usage = msgspec.structs.replace(total, used=increase)
            # An increase that cannot be counted now is part of the next total.
            if increase > 0 and self._quotas.add(name, usage):
                received[name] = total

    def take_snapshot(self) -> UsageSnapshot:
        """Return the usage that a starting gateway needs."""
        return UsageSnapshot(
            counters=self._quotas.get_current(),
            received={**self._received, self.origin: self._quotas.get_local()},
        )

    def join(self, snapshot: UsageSnapshot | None) -> None:
        """Start with the usage that a peer reports.

        Requests that this gateway allowed before, and that the peer does not know of, stay counted.

        Args:
            snapshot: Usage that the peer reports. None if there is no peer.
        """
        if snapshot is not None:
            local = self._quotas.get_local()
            own_received = snapshot.received.pop(self.origin, {})
            for name, counter in snapshot.counters.items():
                unreported = 0
                if name in local and local[name].is_same_period(counter):
                    unreported = max(
                        0, local[name].used - _get_received(own_received, name, counter)
                    )
                minimum = msgspec.structs.replace(counter, used=counter.used + unreported)
                self._quotas.raise_to(name, minimum)
            self._received = snapshot.received
        self.has_joined = True

    def drop_ended_periods(self) -> None:
        """Forget the usage that peers reported for periods that ended."""
        current = self._quotas.get_current()
        for origin, received in [*self._received.items()]:
            kept = {
                name: counter
                for name, counter in received.items()
                if name in current and counter.is_same_period(current[name])
            }
            self._received[origin] = kept
            if not kept:
                del self._received[origin]


def _get_received(received: dict[str, QuotaCounter], client: str, total: QuotaCounter) -> int:
    """Return how much of a total was received before."""
    previous = received.get(client)
    return previous.used if previous is not None and previous.is_same_period(total) else 0
