"""Known addresses: from which addresses each client has authenticated."""

from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass

MAX_CLIENT_ADDRESSES = 64
"""Addresses remembered per client. A specification has at most 300 clients."""
MAX_UNREPORTED = 300 * MAX_CLIENT_ADDRESSES
KEPT_SECONDS = 30 * 86_400
"""Time after which other gateways forget an address that is not used."""
_REPORT_SECONDS = 86_400
"""Time between two reports of an address in use. The others then know it until it is unused."""


@dataclass(slots=True)
class _Use:
    """The use of one address by one client, on the monotonic clock.

    Attributes:
        last: Time of the last use.
        reported: Time of the last report to the other gateways, or of a later one that they made.
            None if there was none.
    """

    last: float
    reported: float | None = None


class KnownAddresses:
    """The addresses from which each client has authenticated, the latest ones.

    Many clients can share an address. While the address is blocked because one of its users guesses
    keys, the clients that are known there are still served.

    Args:
        clock: Returns monotonic time in seconds.

    Attributes:
        unreported: Pairs of client and address that other gateways must learn of, because they are
            new or were reported a day ago. None if no gateway shares them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.unreported: dict[tuple[str, str], None] | None = None
        self._clock = clock
        self._addresses: dict[str, OrderedDict[str, _Use]] = {}

    def add(self, client: str, address: str) -> None:
        """Remember that a client authenticates from an address now."""
        now = self._clock()
        use = self._remember(client, address, now)
        use.last = now
        if (
            self.unreported is not None
            and (use.reported is None or now - use.reported >= _REPORT_SECONDS)
            and len(self.unreported) < MAX_UNREPORTED
        ):
            self.unreported[client, address] = None
            use.reported = now

    def learn(self, client: str, address: str, seconds: float) -> None:
        """Remember an address that another gateway has reported.

        Args:
            seconds: Time since the client used it, in seconds.
        """
        used = self._clock() - seconds
        use = self._remember(client, address, used)
        use.last = max(use.last, used)
        use.reported = used if use.reported is None else max(use.reported, used)

    def has(self, client: str, address: str) -> bool:
        """Return whether a client has authenticated from an address."""
        return address in self._addresses.get(client, ())

    def get_seconds_unused(self, client: str, address: str) -> float | None:
        """Return the time since the last use, in seconds. None if the pair was forgotten."""
        if not self.has(client, address):
            return None
        return self._clock() - self._addresses[client][address].last

    def report_all_again(self) -> None:
        """Report all pairs once more, because what the others know of them may be lost."""
        if self.unreported is not None:
            pairs = [
                (name, address) for name, known in self._addresses.items() for address in known
            ]
            self.unreported.update(dict.fromkeys(pairs[:MAX_UNREPORTED]))

    def keep_only(self, clients: Container[str]) -> None:
        """Forget the addresses of all other clients."""
        self._addresses = {n: known for n, known in self._addresses.items() if n in clients}

    def _remember(self, client: str, address: str, used: float) -> _Use:
        known = self._addresses.setdefault(client, OrderedDict())
        use = known.get(address)
        if use is None:
            use = known[address] = _Use(used)
            if len(known) > MAX_CLIENT_ADDRESSES:
                known.popitem(last=False)
        else:
            known.move_to_end(address)
        return use
