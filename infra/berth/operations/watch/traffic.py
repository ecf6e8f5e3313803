"""Rates of each version over the last seconds, from the metrics of berths and gateways."""

from collections import deque
from collections.abc import Iterable, Mapping

from berth.operations.rollout.readings import Counts, Meter, estimate_quantile
from berth.operations.watch.snapshot import Rates

WINDOW_SECONDS = 10.0


class Traffic:
    """The requests of a stack's versions in the last seconds."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._meters: dict[str, Meter] = {}
        self._readings: deque[tuple[float, dict[tuple[str, str], Counts]]] = deque()

    def advance(
        self, at: float, versions: Iterable[tuple[str, str]], scrapes: Mapping[str, str]
    ) -> None:
        """Add a reading.

        Args:
            at: When it was made, in seconds of a clock that never goes back.
            versions: The models with each of their versions.
            scrapes: The metrics of each program, by a name that no other program will have.
        """
        counts: dict[tuple[str, str], Counts] = {}
        by_model: dict[str, list[str]] = {}
        for model, version in versions:
            by_model.setdefault(model, []).append(version)
        for model, names in by_model.items():
            texts = {name: _select_lines(text, model) for name, text in scrapes.items()}
            if model in self._meters:
                self._meters[model].advance(texts)
            else:
                self._meters[model] = Meter(model, texts)
            for version in names:
                counts[model, version] = self._meters[model].count(version)
        self._readings.append((at, counts))
        # The first reading that is kept is the last one before the window, or at its start.
        while len(self._readings) > 2 and self._readings[1][0] <= at - self._window_seconds:
            self._readings.popleft()

    def get_rates(self, model: str, version: str) -> Rates | None:
        """Return the rates of a version, or None before there are two readings of it."""
        own = [(at, counts.get((model, version))) for at, counts in self._readings]
        known = [(at, counts) for at, counts in own if counts is not None]
        if len(known) < 2:
            return None
        (start, before), (end, after) = known[0], known[-1]
        return _compute_rates(before, after, end - start)


def _compute_rates(before: Counts, after: Counts, seconds: float) -> Rates | None:
    if seconds <= 0:
        return None
    requests, failed = after.requests - before.requests, after.failed - before.failed
    timed = after.timed - before.timed
    within = {bound: n - before.within.get(bound, 0) for bound, n in after.within.items()}
    difference = Counts(timed=timed, within=within)
    return Rates(
        per_second=requests / seconds,
        failed_share=failed / requests if requests else None,
        p50_seconds=estimate_quantile(difference, 0.5) if timed else None,
        p99_seconds=estimate_quantile(difference, 0.99) if timed else None,
    )


def _select_lines(text: str, model: str) -> str:
    """Return the samples of one model, so that a stack of many models is not parsed many times."""
    label = f'model="{model}"'
    return "".join(f"{line}\n" for line in text.splitlines() if label in line)
