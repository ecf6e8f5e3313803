"""What the versions of a model did, from the metrics of berths and gateways."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_REQUESTS = "berth_requests_total"
_SECONDS = "berth_request_seconds_bucket"
_FAILOVERS = "berth_gateway_failovers_total"
_COMPARED = "berth_gateway_shadow_compared_total"
# Label that tells the series of one version of a metric apart.
_LABELS = {_REQUESTS: "code", _SECONDS: "le", _FAILOVERS: "answered_by", _COMPARED: "outcome"}
# A request is slow that takes half longer than nearly all others, but not for some milliseconds.
_SLOW_FACTOR = 1.5
_SLOW_SECONDS = 0.01

Series = tuple[str, str, str]
"""Metric, version, and the value of the label in `_LABELS`."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Inference requests of one version.

    Attributes:
        requests: Requests that ended with success or a server error. A client's mistake, with a
            status from 400 to 499, says nothing about the version.
        failed: Requests that ended with a server error, or that another version answered because
            this one was unhealthy.
        timed: Number of requests whose duration is known.
        within: Seconds -> number of requests that took at most as long.
        compared: Shadow requests whose answer was compared with the client's.
        different: Those with another answer.
    """

    requests: int = 0
    failed: int = 0
    timed: int = 0
    within: Mapping[float, int]
    compared: int = 0
    different: int = 0

    def count_slower(self, seconds: float) -> int:
        """Return the number of requests that took longer than a bucket's bound."""
        return self.timed - self.within.get(seconds, self.timed)


def parse_metrics(text: str, model: str) -> dict[Series, float]:
    """Return the values that matter for a rollout, from metrics in Prometheus' format."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[Series, float] = {}
    # Parsing is slow, and a version can have 1,536 series of data drift.
    lines = "".join(f"{each}\n" for each in text.splitlines() if each.startswith(tuple(_LABELS)))
    for family in text_string_to_metric_families(lines):
        for sample in family.samples:
            label = _LABELS.get(sample.name)
            if label is not None and sample.labels.get("model") == model:
                found[sample.name, sample.labels["version"], sample.labels[label]] = sample.value
    return found


class Meter:
    """The sum of what several programs count, from the first reading on.

    A program that ends takes its counters with it, and one that starts again begins at 0. So the
    increments of each program are added.
    """

    def __init__(self, model: str, scrapes: Mapping[str, str]) -> None:
        """Start to count.

        Args:
            scrapes: The metrics of each program, by a name that no other program will have.
        """
        self._model = model
        self._last = {name: parse_metrics(text, model) for name, text in scrapes.items()}
        self._totals: defaultdict[Series, float] = defaultdict(float)

    def learn(self, scrapes: Mapping[str, str]) -> None:
        """Count what these programs do from now on, and not what they have counted before."""
        self._last |= {name: parse_metrics(text, self._model) for name, text in scrapes.items()}

    def advance(self, scrapes: Mapping[str, str]) -> None:
        """Add what has happened since the last reading. A program may be missing."""
        for name, text in scrapes.items():
            last, values = self._last.get(name, {}), parse_metrics(text, self._model)
            for series, value in values.items():
                before = last.get(series, 0.0)
                self._totals[series] += value - before if value >= before else value
            self._last[name] = values

    def count(self, version: str) -> Counts:
        """Return what a version did since the first reading."""
        return sum_counts(self._totals, version)

    def count_before(self, version: str) -> Counts:
        """Return what the programs of a version had counted at the last reading, in total."""
        totals: defaultdict[Series, float] = defaultdict(float)
        for values in self._last.values():
            for series, value in values.items():
                totals[series] += value
        return sum_counts(totals, version)


def sum_counts(values: Mapping[Series, float], version: str) -> Counts:
    """Return the counts of a version from the values of its series."""
    own = {
        (name, label): round(n) for (name, owner, label), n in values.items() if owner == version
    }
    by_code = {label: n for (name, label), n in own.items() if name == _REQUESTS}
    failovers = sum(n for (name, _), n in own.items() if name == _FAILOVERS)
    failed = sum(n for code, n in by_code.items() if code.startswith("5")) + failovers
    within = {float(label): n for (name, label), n in own.items() if name == _SECONDS}
    compared = {label: n for (name, label), n in own.items() if name == _COMPARED}
    different = compared.get("different", 0)
    return Counts(
        requests=sum(n for code, n in by_code.items() if not code.startswith("4")) + failovers,
        failed=failed,
        timed=within.get(float("inf"), 0),
        within=within,
        compared=compared.get("equal", 0) + different,
        different=different,
    )


def choose_slow_seconds(counts: Counts) -> float | None:
    """Return the bound from which a request is slow, in seconds, or None without requests.

    It is the first bound of the histogram that is at least 1.5 times the 99th percentile, and 10 ms
    above it: other work on the machine delays single requests by some milliseconds. The percentile
    is interpolated within its bucket as Prometheus' `histogram_quantile` does.
    """
    bounds = sorted(bound for bound in counts.within if bound != float("inf"))
    if not counts.timed or not bounds:
        return None
    percentile = estimate_quantile(counts, 0.99)
    least = max(percentile * _SLOW_FACTOR, percentile + _SLOW_SECONDS)
    return next((bound for bound in bounds if bound >= least), bounds[-1])


def estimate_quantile(counts: Counts, quantile: float) -> float:
    """Return a quantile of the durations, in seconds, interpolated within its bucket."""
    rank, lower, below = quantile * counts.timed, 0.0, 0
    for bound in sorted(counts.within):
        number = counts.within[bound]
        if number >= rank:
            if bound == float("inf") or number == below:
                return lower
            return lower + (bound - lower) * (rank - below) / (number - below)
        lower, below = bound, number
    return lower
