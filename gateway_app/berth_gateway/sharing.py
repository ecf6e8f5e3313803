"""Sharing: several gateways let through together what one alone would. Arithmetic only.

Each gateway tells the others what it let through. Tokens of the throttle are told as what was taken
since the last message: they are soon refilled, so a message that is lost is lost. Quotas are
told as the sender's own total in the period, and the receiver adds what is new in it: a message
may be lost, doubled or late, and the sum is right after the next one.
"""

from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec

from berth_gateway.quota import Counter, Quotas
from berth_gateway.table import Client
from berth_gateway.throttle import Throttle


class Told(msgspec.Struct, kw_only=True):
    """A message from one gateway to another.

    Attributes:
        origin: names the sender's process; another one after a restart.
        tokens: client -> tokens taken since the last message.
        quotas: client -> what the sender itself let through in the running period.
    """

    origin: str
    tokens: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    quotas: dict[str, Counter]


class State(msgspec.Struct, kw_only=True):
    """What a gateway that starts takes over from another.

    Attributes:
        counters: client -> all that was used, as far as the giver knows.
        heard: origin -> client -> how much of it that gateway let through. All origins whose
            numbers are in `counters` are there, the giver too, so that nothing is added twice.
    """

    counters: dict[str, Counter]
    heard: dict[str, dict[str, Counter]]


class Outbox:
    """What one other gateway is still to be told: see `Sharing.outbox`."""

    def __init__(self, quotas: Iterable[str]) -> None:
        """`quotas`: the clients whose totals are to be told first."""
        self.tokens: dict[str, int] = {}
        self.quotas = set(quotas)
        self._sent: set[str] = set()

    def put(self, tokens: dict[str, int], quotas: Iterable[str]) -> None:
        """Add tokens taken, and clients whose total has grown."""
        for name, count in tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count
        self.quotas.update(quotas)

    def sent(self) -> None:
        """All of it is on its way."""
        self.tokens, self.quotas, self._sent = {}, set(), self.quotas

    def failed(self) -> None:
        """What was sent last did not come through, or nobody knows."""
        self.quotas |= self._sent


class Sharing:
    """One gateway's side.

    Attributes:
        origin: names this process.
        joined: what others let through before this process began is counted. Until then
            nothing of theirs is added to a quota: it would be incomplete, or doubled.
        begun: it counts requests, joined or not, so that others may ask for its state.
    """

    def __init__(
        self,
        origin: str,
        throttle: Throttle,
        quotas: Quotas,
        client: Callable[[str], Client | None],
    ) -> None:
        """`client` gives a client of the table by its name."""
        self.origin = origin
        self.joined = False
        self.begun = False
        self._throttle = throttle
        self._quotas = quotas
        self._client = client
        self._heard: dict[str, dict[str, Counter]] = {}

    def outbox(self) -> Outbox:
        """The outbox of another gateway that was not there before."""
        return Outbox(self._quotas.here())

    def share_out(self, outboxes: Iterable[Outbox]) -> None:
        """Put what was let through here since the last call into each outbox."""
        tokens, quotas = self._throttle.taken(), self._quotas.changed_here()
        for outbox in outboxes:
            outbox.put(tokens, quotas)

    def message(self, outbox: Outbox) -> Told | None:
        """What the outbox holds, None when it is empty. It is on its way then."""
        if not outbox.tokens and not outbox.quotas:
            return None
        told = Told(
            origin=self.origin, tokens=outbox.tokens, quotas=self._quotas.here(outbox.quotas)
        )
        outbox.sent()
        return told

    def hear(self, told: Told) -> None:
        """Count what another gateway let through."""
        if told.origin == self.origin:
            return
        for name, tokens in told.tokens.items():
            client = self._client(name)
            if client is not None:
                self._throttle.debit(client, tokens)
        if not self.joined:
            return
        heard = self._heard.setdefault(told.origin, {})
        for name, total in told.quotas.items():
            new = total.used - _heard_of(heard, name, total)
            more = msgspec.structs.replace(total, used=new)
            # What cannot be counted now is part of the next total.
            if new > 0 and self._quotas.add(name, more):
                heard[name] = total

    def state(self) -> State:
        """What a gateway that starts needs to know."""
        return State(
            counters=self._quotas.running(),
            heard={**self._heard, self.origin: self._quotas.here()},
        )

    def join(self, state: State | None) -> None:
        """Begin with what another gateway knows; None when there is no other.

        What was let through here before, and the other has not heard of, stays counted.
        """
        if state is not None:
            here = self._quotas.here()
            known = state.heard.pop(self.origin, {})
            for name, theirs in state.counters.items():
                unheard = 0
                if name in here and here[name].same_period(theirs):
                    unheard = max(0, here[name].used - _heard_of(known, name, theirs))
                least = msgspec.structs.replace(theirs, used=theirs.used + unheard)
                self._quotas.raise_to(name, least)
            self._heard = state.heard
        self.joined = True

    def forget_past(self) -> None:
        """Drop what was heard of periods that are over, and of gateways that are gone with them."""
        running = self._quotas.running()
        for origin, heard in [*self._heard.items()]:
            kept = {n: c for n, c in heard.items() if n in running and c.same_period(running[n])}
            self._heard[origin] = kept
            if not kept:
                del self._heard[origin]


def _heard_of(heard: dict[str, Counter], client: str, total: Counter) -> int:
    """How much of `total` was heard before."""
    before = heard.get(client)
    return before.used if before is not None and before.same_period(total) else 0
