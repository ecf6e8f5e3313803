"""Blocks: clients that keep exceeding their limits, and addresses that keep guessing keys."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass

from berth_gateway.config import Blocking

MAX_SUBJECTS = 10_000
"""Clients or addresses with offenses that are remembered. An entry takes about 300 bytes. Above
this number, the subject whose last offense is the oldest is forgotten."""
_MAX_DOUBLINGS = 32
# The holder of an IPv6 subscription controls all addresses of its prefix (RFC 6177).
_IPV6_PREFIX = 64


@dataclass
class _Offenses:
    """What is remembered about a subject.

    Attributes:
        count: Offenses in the window.
        window_start: Start of the window.
        blocks: Number of blocks in a row, each twice as long as the one before.
        blocked_until: End of the last block.
    """

    count: int
    window_start: float
    blocks: int = 0
    blocked_until: float = 0.0


class BlockList:
    """Blocks subjects that commit too many offenses within a window.

    Args:
        clock: Returns monotonic time in seconds.

    Attributes:
        unreported: Offenses by subject that other gateways do not know of. None if no gateway
            shares this list.
        rule: Threshold and durations of the last offense.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.unreported: dict[str, int] | None = None
        self.rule: tuple[int, Blocking] | None = None
        self._clock = clock
        self._subjects: OrderedDict[str, _Offenses] = OrderedDict()

    def __len__(self) -> int:
        return len(self._subjects)

    def get_seconds_left(self, subject: str) -> int:
        """Return the rest of the subject's block, in whole seconds. 0 if it is not blocked."""
        entry = self._subjects.get(subject)
        if entry is None:
            return 0
        return max(0, math.ceil(entry.blocked_until - self._clock()))

    def record(self, subject: str, threshold: int, blocking: Blocking) -> int:
        """Count an offense. If it reaches the threshold, block the subject.

        Returns:
            The duration of the block that starts now, in seconds. 0 if none starts.
        """
        now = self._clock()
        self.rule = (threshold, blocking)
        if self.unreported is not None and (
            subject in self.unreported or len(self.unreported) < MAX_SUBJECTS
        ):
            self.unreported[subject] = self.unreported.get(subject, 0) + 1
        entry = self._remember(subject)
        if now - entry.window_start > blocking.window_seconds:
            entry.count, entry.window_start = 0, now
        entry.count += 1
        if entry.count < threshold:
            return 0
        if now - entry.blocked_until > blocking.max_seconds:
            entry.blocks = 0
        factor = math.ldexp(1, min(entry.blocks, _MAX_DOUBLINGS))
        seconds = min(blocking.first_seconds * factor, blocking.max_seconds)
        entry.blocks += 1
        entry.count, entry.window_start = 0, now + seconds
        entry.blocked_until = now + seconds
        return math.ceil(seconds)

    def block(self, subject: str, seconds: float) -> bool:
        """Block a subject because of its offenses at several gateways.

        Returns:
            Whether it was not blocked before.
        """
        now = self._clock()
        entry = self._remember(subject)
        was_blocked = entry.blocked_until > now
        entry.blocked_until = max(entry.blocked_until, now + seconds)
        entry.count, entry.window_start = 0, entry.blocked_until
        if not was_blocked:
            entry.blocks += 1
        return not was_blocked

    def _remember(self, subject: str) -> _Offenses:
        entry = self._subjects.get(subject)
        if entry is None:
            entry = self._subjects[subject] = _Offenses(0, self._clock())
            if len(self._subjects) > MAX_SUBJECTS:
                self._subjects.popitem(last=False)
        else:
            self._subjects.move_to_end(subject)
        return entry

    def keep_only(self, subjects: Container[str]) -> None:
        """Forget all other subjects."""
        for subject in [each for each in self._subjects if each not in subjects]:
            del self._subjects[subject]

    def count_blocked(self) -> int:
        """Return the number of subjects that are blocked now."""
        now = self._clock()
        return sum(entry.blocked_until > now for entry in self._subjects.values())


def normalize_address(text: str) -> str | None:
    """Return an IPv4 address, or the /64 prefix of an IPv6 address. None if it is neither."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        network = ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False)
        return str(network)
    return str(address)
