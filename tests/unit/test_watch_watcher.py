"""Snapshots of a stack whose parts can fail."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.rollout.journal import Journal, Phase, hold, journal_path
from berth.operations.rollout.plan import Plan
from berth.operations.state_file import RecordedState
from berth.operations.update import Update
from berth.operations.watch import watcher as watcher_module
from berth.operations.watch.background import Background
from berth.operations.watch.watcher import Watcher
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from berth.spec.models import ContainerSpec, VersionSpec
from tests.unit.spec_file import SMALLEST, load
from tests.unit.test_rollout_readings import build_berth

_OUTPUTS = {
    "endpoint": "http://127.0.0.1:9000",
    "api_keys": "[secret]",
    "models": {
        "digits": {
            "versions": {"2": {"traffic": 100, "exposed": True, "digest": "sha256:1"}},
            "shadow": None,
        }
    },
}


def _build_update(number: int, traffic: int, *, succeeded: bool = True) -> Update:
    return Update(
        number=number,
        kind="update",
        succeeded=succeeded,
        config={"berth:models": {"digits": {"traffic": {"2": traffic}}}},
        secrets=frozenset(),
        commit=None,
        has_uncommitted_changes=False,
        ended="2026-11-26T08:00:00.000Z",
        changes={},
    )


@dataclass
class _Stack:
    """A stack whose parts fail if a test says so."""

    root: Path
    failures: dict[str, Exception] = field(default_factory=dict)
    replicas: Any = None
    requests: int = 0
    metrics: str | None = None
    container: bool = False

    def _fail(self, part: str) -> None:
        if part in self.failures:
            raise self.failures[part]

    def open_context(self) -> tuple[StackContext, list[str]]:
        self._fail("context")
        spec = load(self.root, SMALLEST)
        if self.container:
            spec.models["digits"].versions["2"] = VersionSpec.model_construct(
                container=ContainerSpec.model_construct()
            )
        return StackContext(root=self.root, stack="local", spec=spec), []

    def read_state(self) -> RecordedState:
        self._fail("state")
        return RecordedState(_OUTPUTS, _build_update(2, 100))

    def read_history(self) -> Sequence[Update]:
        self._fail("history")
        return [_build_update(1, 50), _build_update(2, 100, succeeded=False)]

    def read_resources(self, context: StackContext) -> Sequence[Mapping[str, Any]]:
        self._fail("resources")
        return []

    def estimate_cost(self, context: StackContext) -> float | None:
        self._fail("cost")
        return 12.5

    def observe(self, context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
        self._fail("observe")
        berth = {"state": "ready", "traffic": 100, "exposed": True, "replicas": self.replicas}
        models = {"digits": {"versions": {"2": berth}, "shadow": None}}
        return {"gateway": "ready", "models": models}

    def read_metrics(self, context: StackContext, outputs: dict[str, Any]) -> Mapping[str, str]:
        self._fail("metrics")
        if self.metrics is not None:
            return {"a": self.metrics}
        self.requests += 10
        text = build_berth({"200": self.requests}, [])
        return {"a": text.replace('model="m"', 'model="digits"')}

    def find_drift(self, context: StackContext, resources: Sequence[Any]) -> list[str]:
        self._fail("drift")
        return ["digits-2 was changed"]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Stack:
    stack = _Stack(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    from dataclasses import replace

    platform = replace(
        get_platform("local"),
        observe=stack.observe,
        read_metrics=stack.read_metrics,
        find_drift=stack.find_drift,
    )
    monkeypatch.setattr(watcher_module, "get_platform", lambda _: platform)
    return stack


def test_complete_snapshot_has_all_parts(stack: _Stack) -> None:
    watcher = Watcher("local", stack)
    watcher.read()
    snapshot = watcher.read(is_complete=True)
    assert snapshot.problems == ()
    assert (snapshot.platform, snapshot.gateway) == ("local", "ready")
    (berth,) = snapshot.berths
    assert (berth.model, berth.version, berth.state) == ("digits", "2", "ready")
    assert berth.rates is not None
    assert berth.rates.per_second > 0
    assert [update.number for update in snapshot.updates] == [2, 1]
    assert snapshot.updates[0].result == "failed"
    assert snapshot.updates[0].changes == ("berth:models.digits.traffic.2: 50 -> 100",)
    assert snapshot.drift == ("digits-2 was changed",)
    assert snapshot.usd_per_month == 12.5


@pytest.mark.parametrize(
    ("part", "label"),
    [
        ("observe", "state: no answer"),
        ("metrics", "metrics: no answer"),
        ("history", "history: no answer"),
        ("drift", "drift: no answer"),
        ("resources", "drift: no answer"),
        ("cost", "cost: no answer"),
    ],
)
def test_part_that_cannot_be_read_is_reported_and_the_others_are_shown(
    stack: _Stack, part: str, label: str
) -> None:
    stack.failures[part] = RuntimeError("no\nanswer")
    snapshot = Watcher("local", stack).read(is_complete=True)
    assert snapshot.problems == (label,)
    (berth,) = snapshot.berths
    assert berth.state == ("unknown" if part == "observe" else "ready")


def read_note(watcher: Watcher) -> str | None:
    """Read a snapshot, and return why its only berth has no complete rates."""
    (berth,) = watcher.read().berths
    assert berth.rates is None or "not available" not in str(berth.rates_note)
    return berth.rates_note


def test_rates_of_an_earlier_reading_are_not_shown_as_the_current_ones(stack: _Stack) -> None:
    watcher = Watcher("local", stack)
    assert read_note(watcher) == "known after the next reading"
    assert read_note(watcher) is None
    stack.failures["metrics"] = RuntimeError("no answer")
    assert read_note(watcher) == "not available, because the metrics cannot be read"
    del stack.failures["metrics"]
    assert read_note(watcher) is None
    stack.metrics = ""
    assert read_note(watcher) == ("not available, because no program of it responds (state: ready)")


def test_metrics_in_another_format_are_reported(stack: _Stack) -> None:
    stack.metrics = 'berth_requests_total{model="digits",version= 7\n'
    watcher = Watcher("local", stack)
    watcher.read()
    snapshot = watcher.read()
    assert snapshot.problems[0].startswith("metrics: ")
    assert snapshot.berths[0].rates is None


def test_replica_that_does_not_report_makes_the_rates_incomplete(stack: _Stack) -> None:
    watcher = Watcher("local", stack)
    watcher.read()
    stack.replicas = "2/3"
    assert read_note(watcher) == "not complete, because only 1 of 2 replicas respond"
    stack.replicas = "1/3"
    assert read_note(watcher) is None


def test_container_of_the_user_has_no_rates(stack: _Stack) -> None:
    stack.container = True
    watcher = Watcher("local", stack)
    watcher.read()
    assert read_note(watcher) == (
        "not available, because its own container does not report requests"
    )


def test_stack_that_is_not_deployed_is_reported(stack: _Stack) -> None:
    stack.failures["state"] = OperationError("Stack 'local' is not deployed.")
    snapshot = Watcher("local", stack).read(is_complete=True)
    assert snapshot.problems == ("Stack 'local' is not deployed.",)
    assert (snapshot.berths, snapshot.endpoint) == ((), None)


def test_configuration_that_is_invalid_is_reported_and_recorded_berths_are_shown(
    stack: _Stack,
) -> None:
    stack.failures["context"] = SpecError(["berth:models: is missing"])
    snapshot = Watcher("local", stack).read(is_complete=True)
    assert "berth:models: is missing" in snapshot.problems[0]
    assert [berth.state for berth in snapshot.berths] == ["unknown"]


def test_rollout_in_progress_and_an_unreadable_one_are_shown(stack: _Stack) -> None:
    plan = Plan(
        model="digits",
        version="2",
        stable="1",
        steps=(0, 50, 100),
        bake_seconds=1,
        step_seconds=9,
        limits={"failed": 0.01},
    )
    path = journal_path(stack.root, "local", "digits")
    journal = Journal(path=path, plan=plan, phase=Phase.WATCHING, step=1)
    journal.add_event("Step 2 of 3", at=5.0)
    with hold(path):
        (rollout,) = Watcher("local", stack).read().rollouts
    assert (rollout.phase, rollout.is_in_progress) == ("watching", True)
    assert (rollout.is_interrupted, rollout.resume) == (False, None)
    assert rollout.step == "version 2 receives 50 % of the traffic"
    assert (rollout.event, rollout.event_at) == ("Step 2 of 3", 5.0)
    (killed,) = Watcher("local", stack).read().rollouts
    assert (killed.is_interrupted, killed.resume) == (True, "berth rollout digits 2 --resume")
    path.write_text("{")
    snapshot = Watcher("local", stack).read()
    assert snapshot.rollouts == ()
    assert "Cannot read the record of the rollout" in snapshot.problems[0]


@pytest.mark.parametrize(
    ("replicas", "text"),
    [("1/3", "1/3"), (None, None), ([{"state": "ready"}, {"state": "stopped"}], "1/2")],
)
def test_replicas_of_each_platform_are_counted(
    stack: _Stack, replicas: Any, text: str | None
) -> None:
    stack.replicas = replicas
    assert Watcher("local", stack).read().berths[0].replicas == text


def test_background_value_is_read_again_only_if_it_is_due_or_its_key_changed() -> None:
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        return len(reads)

    value = Background(read, 3600)
    for key, expected in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        value.refresh(key, waits=True)
        assert value.value == expected


def test_background_value_stays_if_it_cannot_be_read_again() -> None:
    results: list[Callable[[], str]] = [lambda: "first", lambda: json.loads("{")]
    value = Background(lambda: results.pop(0)(), 3600)
    value.refresh("a", waits=True)
    value.refresh("b", waits=True)
    assert value.value == "first"
    assert value.problem is not None
