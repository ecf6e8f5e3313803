"""Reads snapshots of a stack. What cannot be read is reported in the snapshot."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from berth.operations.history import list_releases
from berth.operations.rollout.status import RolloutStatus, list_rollouts
from berth.operations.state_file import RecordedState
from berth.operations.update import Update
from berth.operations.watch.background import Background, describe_error
from berth.operations.watch.data_drift import DataDrift, read_data_drift
from berth.operations.watch.snapshot import (
    UNKNOWN,
    BerthStatus,
    Rates,
    Snapshot,
    UpdateStatus,
)
from berth.operations.watch.traffic import Traffic
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext

_SHOWN_UPDATES = 5
_METRICS = "metrics"
_CONTEXT_SECONDS = 2.0
_STATE_SECONDS = 1.0
_DRIFT_SECONDS = 30.0
_HISTORY_SECONDS = 60.0
# Only another configuration changes the cost.
_COST_SECONDS = 3600.0

T = TypeVar("T")


class Source(Protocol):
    """How a watcher reads what Berth knows of a stack. Each method may raise any exception."""

    def open_context(self) -> tuple[StackContext, list[str]]:
        """Return the stack, and what is wrong with its configuration file, one line each."""

    def read_state(self) -> RecordedState:
        """Return the outputs without secrets, and the latest update."""

    def read_history(self) -> Sequence[Update]:
        """Return all updates with secrets hidden, oldest first."""

    def read_resources(self, context: StackContext) -> Sequence[Mapping[str, Any]]:
        """Return the resources in the stack's state, with secrets hidden."""

    def estimate_cost(self, context: StackContext) -> float | None:
        """Return US dollars per month, or None if the stack costs nothing by itself."""


class Watcher:
    """Reads one snapshot after another.

    Args:
        stack: Name of the stack.
        source: How to read what Berth knows of it.
    """

    def __init__(self, stack: str, source: Source) -> None:
        self._stack = stack
        self._source = source
        self._traffic = Traffic()
        self._data_drift: dict[tuple[str, str], DataDrift] = {}
        self._opened = Background(source.open_context, _CONTEXT_SECONDS)
        self._state = Background(source.read_state, _STATE_SECONDS)
        self._history = Background(source.read_history, _HISTORY_SECONDS)
        self._drift = Background(self._find_drift, _DRIFT_SECONDS)
        self._cost = Background(self._estimate_cost, _COST_SECONDS)

    def read(self, *, is_complete: bool = False) -> Snapshot:
        """Return the current snapshot.

        Args:
            is_complete: Whether to wait for what takes long to read: history, drift and cost.
        """
        problems: list[str] = []
        self._opened.refresh(waits=is_complete or self._opened.value is None)
        problems += [self._opened.problem] if self._opened.problem else ()
        problems += self._opened.value[1] if self._opened.value else ()
        self._state.refresh(waits=is_complete or self._state.value is None)
        problems += [self._state.problem] if self._state.problem else ()
        recorded = self._state.value if self._state.problem is None else None
        observed: dict[str, Any] = {}
        if recorded is not None:
            observed = self._observe(recorded, problems)
        updates, drift = self._read_slow(recorded, problems, is_complete=is_complete)
        return Snapshot(
            stack=self._stack,
            at=time.time(),
            platform=self._context.spec.platform if self._context else None,
            endpoint=recorded.outputs["endpoint"] if recorded else None,
            gateway=observed.get("gateway", UNKNOWN),
            berths=self._list_berths(
                observed.get("models", {}),
                can_read=not any(each.startswith(_METRICS) for each in problems),
            ),
            rollouts=self._list_rollouts(problems),
            updates=updates,
            drift=drift,
            usd_per_month=self._cost.value,
            notes=tuple(observed.get("notes", ())),
            problems=tuple(problems),
        )

    @property
    def _context(self) -> StackContext | None:
        """The stack. If its configuration became unusable, the one that was read last."""
        return self._opened.value[0] if self._opened.value else None

    def _observe(self, recorded: RecordedState, problems: list[str]) -> dict[str, Any]:
        """Return the state of the gateway and of each version, and read their metrics."""
        context, outputs = self._context, recorded.outputs
        if context is None:
            return {"models": _mark_unknown(outputs["models"])}
        platform = get_platform(context.spec.platform)
        observed = _attempt(problems, "state", lambda: platform.observe(context, outputs))
        observed = observed or {"models": _mark_unknown(outputs["models"])}
        versions = [
            (model, version)
            for model, entry in observed["models"].items()
            for version in entry["versions"]
        ]
        read = platform.read_metrics
        self._data_drift = {}
        if read is not None:

            def advance() -> None:
                scrapes = read(context, outputs)
                self._traffic.advance(time.monotonic(), versions, scrapes)
                self._data_drift = read_data_drift(scrapes.values())

            known = len(problems)
            _attempt(problems, _METRICS, advance)
            if len(problems) > known:
                self._traffic.lose()
        return observed

    def _read_slow(
        self, recorded: RecordedState | None, problems: list[str], *, is_complete: bool
    ) -> tuple[tuple[UpdateStatus, ...], tuple[str, ...] | None]:
        """Return the last updates and the drift. The cost is read as well."""
        number = recorded.latest.number if recorded else None
        spec = self._context.spec if self._context else None
        if recorded is not None:
            self._history.refresh((number, recorded.latest.ended), waits=is_complete)
            problems += [f"history: {self._history.problem}"] if self._history.problem else ()
            if spec is not None:
                self._drift.refresh(number, waits=is_complete)
                problems += [f"drift: {self._drift.problem}"] if self._drift.problem else ()
        if spec is not None:
            self._cost.refresh(repr(spec), waits=is_complete)
            problems += [f"cost: {self._cost.problem}"] if self._cost.problem else ()
        # A stack that was destroyed in between has no drift.
        found = self._drift.value if recorded is not None else None
        drift = None if found is None else tuple(found)
        return _list_updates(self._history.value or ()), drift

    def _find_drift(self) -> list[str]:
        context = self._context
        assert context is not None
        resources = self._source.read_resources(context)
        return get_platform(context.spec.platform).find_drift(context, resources)

    def _estimate_cost(self) -> float | None:
        assert self._context is not None
        return self._source.estimate_cost(self._context)

    def _read_rates(
        self, model: str, version: str, berth: Mapping[str, Any], *, can_read: bool
    ) -> tuple[Rates | None, str | None]:
        """Return the rates of a version, and why they are not known or not complete."""
        if self._context is None:
            return None, "not available, because the configuration cannot be read"
        spec = self._context.spec
        declared = spec.models[model].versions.get(version) if model in spec.models else None
        if declared is not None and declared.container is not None:
            return None, "not available, because its own container does not report requests"
        if get_platform(spec.platform).read_metrics is None:
            return None, f"not available on platform {spec.platform}"
        if not can_read:
            return None, "not available, because the metrics cannot be read"
        reporters = self._traffic.count_reporters(model, version)
        if not reporters:
            state = berth["state"]
            return None, f"not available, because no program of it responds (state: {state})"
        rates = self._traffic.get_rates(model, version)
        ready, _, _ = (_count_replicas(berth.get("replicas")) or "").partition("/")
        if rates is None:
            return None, "known after the next reading"
        if ready.isdecimal() and reporters < int(ready):
            return rates, f"not complete, because only {reporters} of {ready} replicas respond"
        return rates, None

    def _list_berths(self, models: Mapping[str, Any], *, can_read: bool) -> tuple[BerthStatus, ...]:
        berths = []
        for model, entry in models.items():
            for version, berth in entry["versions"].items():
                rates, note = self._read_rates(model, version, berth, can_read=can_read)
                berths.append(
                    BerthStatus(
                        model=model,
                        version=version,
                        state=berth["state"],
                        replicas=_count_replicas(berth.get("replicas")),
                        traffic=berth["traffic"],
                        is_shadow=version == entry["shadow"],
                        is_exposed=berth["exposed"],
                        rates=rates,
                        rates_note=note,
                        data_drift=self._data_drift.get((model, version)),
                    )
                )
        return tuple(berths)

    def _list_rollouts(self, problems: list[str]) -> tuple[RolloutStatus, ...]:
        if self._context is None:
            return ()
        rollouts, unreadable = list_rollouts(self._context.root, self._stack)
        problems += unreadable
        return tuple(rollouts)


def _attempt(problems: list[str], what: str, read: Callable[[], T]) -> T | None:
    """Return what `read` returns, or None after adding why it failed to the problems."""
    try:
        return read()
    except Exception as error:  # Each platform's libraries have their own exceptions.
        problems.append(f"{what}: {describe_error(error)}")
        return None


def _mark_unknown(models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded models with versions whose state is unknown."""
    return {
        model: {
            **entry,
            "versions": {
                version: {**berth, "state": UNKNOWN} for version, berth in entry["versions"].items()
            },
        }
        for model, entry in models.items()
    }


def _count_replicas(replicas: Any) -> str | None:
    """Return ready and all replicas. A platform reports the numbers, or each replica's state."""
    if isinstance(replicas, list):
        return f"{sum(each['state'] == 'ready' for each in replicas)}/{len(replicas)}"
    return None if replicas is None else str(replicas)


def _list_updates(history: Sequence[Update]) -> tuple[UpdateStatus, ...]:
    releases = list_releases(history)
    first = releases[0] if releases else None
    return tuple(
        UpdateStatus(
            number=release.update.number,
            result="succeeded" if release.update.succeeded else "failed",
            ended=release.update.ended,
            changes=() if release is first else tuple(str(change) for change in release.changes),
        )
        for release in reversed(releases[-_SHOWN_UPDATES:])
    )
