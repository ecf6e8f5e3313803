"""Rates of each version over the last seconds, from the metrics of berths and gateways."""

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from berth.operations.rollout.readings import Counts, Meter, estimate_quantile
from berth.operations.watch.snapshot import Rates

WINDOW_SECONDS = 10.0
# Each program of a berth always reports this one.
_INFO = "berth_model_info{"
_LABEL = re.compile(r'(model|version)="([^"]*)"')


class Traffic:
    """The requests of a stack's versions in the last seconds."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._meters: dict[str, Meter] = {}
        self._programs: set[str] = set()
        self._reporters: Counter[tuple[str, str]] = Counter()
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
        self._reporters = _count_reporters(scrapes.values())
        new = scrapes.keys() - self._programs
        self._programs |= new
        counts: dict[tuple[str, str], Counts] = {}
        by_model: dict[str, list[str]] = {}
        for model, version in versions:
            by_model.setdefault(model, []).append(version)
        for model, names in by_model.items():
            texts = {name: _select_lines(text, model) for name, text in scrapes.items()}
            if model in self._meters:
                # A program that could not be read before may have counted for days.
                self._meters[model].learn({name: texts[name] for name in new})
                self._meters[model].advance(texts)
            else:
                self._meters[model] = Meter(model, texts)
            for version in names:
                counts[model, version] = self._meters[model].count(version)
        self._readings.append((at, counts))
        # The first reading that is kept is the last one before the window, or at its start.
        while len(self._readings) > 2 and self._readings[1][0] <= at - self._window_seconds:
            self._readings.popleft()

    def lose(self) -> None:
        """Record that the metrics could not be read, so that the last rates are not the current."""
        self._reporters.clear()

    def count_reporters(self, model: str, version: str) -> int:
        """Return how many programs of a version reported at the last reading."""
        return self._reporters[model, version]

    def get_rates(self, model: str, version: str) -> Rates | None:
        """Return the rates of a version, or None if fewer than two readings are known.

        A version of which no program reported at the last reading has no rates. They are not 0.
        """
        if not self.count_reporters(model, version):
            return None
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


def _count_reporters(texts: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return how many programs serve each version, as they report."""
    found: Counter[tuple[str, str]] = Counter()
    for text in texts:
        versions = set()
        for line in text.splitlines():
            if line.startswith(_INFO):
                labels = dict(_LABEL.findall(line))
                versions.add((labels.get("model", ""), labels.get("version", "")))
        found.update(versions)
    return found


def _select_lines(text: str, model: str) -> str:
    """Return the samples of one model, so that a stack of many models is not parsed many times."""
    label = f'model="{model}"'
    return "".join(f"{line}\n" for line in text.splitlines() if label in line)
