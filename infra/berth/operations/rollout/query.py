"""Guards from a monitoring system: a query whose value must satisfy a condition."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth.errors import OperationError

_CONDITION = re.compile(r"\s*(<=|>=|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*")
_MAX_CHARACTERS = 2000
_MAX_QUERIES = 10


@dataclass(frozen=True, kw_only=True)
class Query:
    """A guard from a monitoring system.

    Attributes:
        source: `prometheus` or `cloudwatch`.
        text: The query.
        comparison: How its value must compare with `limit`, such as `<`.
        limit: The number.
    """

    source: str
    text: str
    comparison: str
    limit: float

    def is_met(self, value: float) -> bool:
        """Return whether a value satisfies the condition. A value that is no number does not."""
        match self.comparison:
            case "<":
                return value < self.limit
            case "<=":
                return value <= self.limit
            case ">":
                return value > self.limit
            case _:
                return value >= self.limit

    def __str__(self) -> str:
        return f"{self.text} {self.comparison} {self.limit:g}"


Read = Callable[[Query, float], float | None]
"""Returns the current value of a query, or None without one. Its second argument is the time in
seconds since 1970 since which values count."""


def parse_queries(source: str, pairs: Sequence[tuple[str, str]]) -> tuple[Query, ...]:
    """Return the guards that pairs of a query and a condition, such as `< 5`, describe.

    Raises:
        OperationError: If one is invalid.
    """
    if len(pairs) > _MAX_QUERIES:
        raise OperationError(f"--{source}: {len(pairs)} queries; at most {_MAX_QUERIES} are read.")
    return tuple(_parse(source, text, condition) for text, condition in pairs)


def _parse(source: str, text: str, condition: str) -> Query:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise OperationError(
            f"--{source} '{text}' '{condition}': the condition is not a comparison with a number. "
            "Use the form '< 0.05', with one of <, <=, > and >=."
        )
    if not 0 < len(text) <= _MAX_CHARACTERS:
        raise OperationError(
            f"--{source}: a query has {len(text)} characters. Use 1 to {_MAX_CHARACTERS}."
        )
    return Query(source=source, text=text, comparison=match[1], limit=float(match[2]))


class QueryWatch:
    """The queries of one step, each of which is read again after `poll_seconds`.

    Args:
        since: Time in seconds since 1970 at which the step began.
    """

    def __init__(self, queries: Sequence[Query], read: Read, *, since: float) -> None:
        self._queries = queries
        self._read = read
        self._since = since
        self._values: dict[Query, float] = {}

    def advance(self) -> None:
        """Read all queries.

        Raises:
            OperationError: If one cannot be read.
        """
        for query in self._queries:
            if (value := self._read(query, self._since)) is not None:
                self._values[query] = value

    def find_violated(self) -> list[str]:
        """Return the queries whose latest value does not satisfy the condition, one line each."""
        return [
            f"the value of '{query.text}' is {value:g}, not {query.comparison} {query.limit:g}"
            for query, value in self._values.items()
            if not query.is_met(value)
        ]

    @property
    def is_good(self) -> bool:
        """Whether each query had a value in this step, and the latest satisfies the condition."""
        return len(self._values) == len(set(self._queries)) and not self.find_violated()

    def describe(self) -> list[str]:
        """Return the latest value of each query."""
        return [
            f"{query.text} = {self._values[query]:g}"
            if query in self._values
            else f"{query.text} has no value yet"
            for query in self._queries
        ]


def restore_queries(entries: Sequence[Mapping[str, Any]]) -> tuple[Query, ...]:
    """Return the queries that a journal contains."""
    return tuple(Query(**entry) for entry in entries)
