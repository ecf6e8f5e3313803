"""Which host runs which replica.

The result depends only on the specification, so that a preview is the same on every machine and a
rollback also restores the placement. Each berth prefers hosts in an order of its own (rendezvous
hashing, https://www.eecs.umich.edu/techreports/cse/96/CSE-TR-316-96.pdf). While memory and GPUs
suffice, another berth moves no replica, and a removed host moves only its own.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Compute = Literal["cpu", "gpu"]
_MIB = 1 << 20


class PlacementError(ValueError):
    """Hosts that do not suffice. The message has a line for each berth, with what each host lacks.

    Attributes:
        problems: What each host lacks, by berth.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{berth} {text}" for berth, text in problems.items()))
        self.problems = dict(problems)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A server with a Docker engine.

    Attributes:
        memory_bytes: Memory of all berths on it.
        compute: Class of the berths that it runs.
        gpus: Number of its GPUs.
    """

    memory_bytes: int
    compute: Compute = "cpu"
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a berth needs.

    Attributes:
        memory_bytes: Memory of each replica.
        compute: Class of hosts.
        gpus: GPUs of each replica, which no other replica uses.
        replicas: Number of replicas.
    """

    memory_bytes: int
    compute: Compute = "cpu"
    gpus: int = 0
    replicas: int = 1


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A replica on its host.

    Attributes:
        berth: Name of the berth.
        number: Number of the replica, from 0.
        host: Name of the host.
        gpus: Indexes of the host's GPUs that it uses.
    """

    berth: str
    number: int
    host: str
    gpus: tuple[int, ...] = ()


@dataclass
class _Room:
    """What is left on a host."""

    host: Host
    memory_bytes: int
    gpus: list[int]
    replicas: dict[str, int] = field(default_factory=dict)

    def find_lacks(self, demand: Demand) -> Iterator[str]:
        """Yield what the host lacks for one more replica."""
        if demand.compute != self.host.compute:
            yield f"runs compute: {self.host.compute}"
            return
        if demand.memory_bytes > self.memory_bytes:
            yield f"has {_format(self.memory_bytes)} left of {_format(self.host.memory_bytes)}"
        if demand.gpus > len(self.gpus):
            yield f"has {len(self.gpus)} of {self.host.gpus} GPUs left"


def place(hosts: Mapping[str, Host], demands: Mapping[str, Demand]) -> list[Replica]:
    """Return the host of each replica, sorted by berth and number.

    Replicas of a berth are on different hosts if there are enough. The berths that need most are
    placed first.

    Args:
        hosts: Hosts by name.
        demands: What each berth needs, by name.

    Raises:
        PlacementError: If a replica fits on no host.
    """
    rooms = {
        name: _Room(host, host.memory_bytes, list(range(host.gpus))) for name, host in hosts.items()
    }
    placed: list[Replica] = []
    problems: dict[str, str] = {}
    for berth, demand in sorted(demands.items(), key=_sort_key):
        for number in range(demand.replicas):
            lacks = {name: list(room.find_lacks(demand)) for name, room in sorted(rooms.items())}
            suitable = [name for name, lack in lacks.items() if not lack]
            if not suitable:
                problems[berth] = _explain(demand, number, lacks)
                break
            preferred = _order(suitable, berth)
            name = min(preferred, key=lambda name: rooms[name].replicas.get(berth, 0))
            placed.append(_take(rooms[name], name, berth, number, demand))
    if problems:
        raise PlacementError(problems)
    return sorted(placed, key=lambda replica: (replica.berth, replica.number))


def _take(room: _Room, name: str, berth: str, number: int, demand: Demand) -> Replica:
    room.memory_bytes -= demand.memory_bytes
    room.replicas[berth] = room.replicas.get(berth, 0) + 1
    indexes = _order([str(gpu) for gpu in room.gpus], f"{berth}/{number}")[: demand.gpus]
    gpus = tuple(sorted(int(index) for index in indexes))
    room.gpus = [gpu for gpu in room.gpus if gpu not in gpus]
    return Replica(berth=berth, number=number, host=name, gpus=gpus)


def _sort_key(item: tuple[str, Demand]) -> tuple[int, int, str]:
    berth, demand = item
    return -demand.gpus, -demand.memory_bytes, berth


def _order(names: Sequence[str], key: str) -> list[str]:
    """Return the names in the order that `key` prefers them."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{key}\0{name}".encode()).digest())


def _explain(demand: Demand, number: int, lacks: Mapping[str, Sequence[str]]) -> str:
    needs = [f"compute: {demand.compute}", _format(demand.memory_bytes)]
    needs += [f"{demand.gpus} GPUs"] if demand.gpus else []
    hosts = "; ".join(f"host {name} {' and '.join(lack)}" for name, lack in lacks.items())
    return (
        f"needs {', '.join(needs)} for replica {number + 1} of {demand.replicas}, and no host has "
        f"that: {hosts}"
    )


def _format(memory_bytes: int) -> str:
    return f"{memory_bytes // _MIB}Mi"
