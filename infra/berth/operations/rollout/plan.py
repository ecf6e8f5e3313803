"""What a rollout will do, as plain data: its steps, its guards, and what it moves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berth.errors import OperationError
from berth.operations.rollout.query import Query
from berth.operations.rollout.sequential_test import ErrorRates, Rates
from berth.spec import HostingSpec

DEFAULT_STEPS = "shadow,5,25,50,100"
SHADOW_STEP = 0
"""A step in which the new version receives duplicates of requests, and no traffic."""
FALSE_REVERSALS = 0.05
FALSE_PROMOTIONS = 0.01
_ALL = 100
_MAX_STEPS = 20
# Acceptable share of each kind of event, as a part of the unacceptable one. The closer the two are,
# the more requests a decision needs.
_ACCEPTABLE = {"failed": 0.1, "slow": 0.2, "different": 0.25}
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A rollout of one version.

    Attributes:
        model: The model.
        version: The version that receives the traffic in the end.
        stable: The version that has it now.
        steps: Percentage of the new version in each step. `SHADOW_STEP` is a shadow.
        bake_seconds: Shortest duration of a step, in seconds.
        step_seconds: Longest duration of a step, in seconds. Without a decision until then, the
            rollout is reverted.
        limits: Unacceptable share of each kind of event: `failed`, `slow` and `different`. A kind
            that is left out is not watched.
        slow_seconds: Duration from which a request is slow, in seconds. None derives it from the
            stable version.
        initial: Percentage of the new version before the rollout.
        queries: Guards from a monitoring system.
    """

    model: str
    version: str
    stable: str
    steps: tuple[int, ...]
    bake_seconds: float
    step_seconds: float
    limits: Mapping[str, float]
    slow_seconds: float | None = None
    initial: int = 0
    queries: tuple[Query, ...] = ()

    @property
    def possible_traffic(self) -> list[dict[str, int]]:
        """The traffic splits that the rollout can leave behind, without the weights of 0."""
        splits = [self.traffic_of(step) for step in (0, self.initial, *self.steps)]
        return [{name: weight for name, weight in split.items() if weight} for split in splits]

    def guards_of(self, step: int) -> list[str]:
        """Return the kinds of events that are watched in a step. Only a shadow is compared."""
        return [kind for kind in self.limits if kind != "different" or step == SHADOW_STEP]

    def update_guards_of(self, step: int) -> list[str]:
        """Return the kinds of events that are watched during the update of a step.

        The update itself makes requests slow. Clients get no answers from a shadow, so it may fail
        until the update has ended.
        """
        return ["failed"] if "failed" in self.limits and step != SHADOW_STEP else []

    @property
    def errors(self) -> ErrorRates:
        """The error rates of each test, so that those of the whole rollout hold.

        Each of the tests can reverse the rollout. A bad version must pass every one of them.
        """
        tests = sum(
            len(self.guards_of(step)) + len(self.update_guards_of(step)) for step in self.steps
        )
        return ErrorRates(
            false_reversal=FALSE_REVERSALS / max(tests, 1), false_promotion=FALSE_PROMOTIONS
        )

    def rates_of(self, kind: str) -> Rates:
        """Return the rates that the test of a kind of event tells apart."""
        limit = self.limits[kind]
        return Rates(acceptable=limit * _ACCEPTABLE[kind], unacceptable=limit)

    def traffic_of(self, step: int) -> dict[str, int]:
        """Return the traffic split of a step."""
        return {self.stable: _ALL - step, self.version: step}

    def shadow_of(self, step: int) -> str | None:
        """Return the shadow of a step."""
        return self.version if step == SHADOW_STEP else None


def parse_steps(text: str) -> tuple[int, ...]:
    """Return the steps in a list such as `shadow,5,25,100`.

    Raises:
        OperationError: If the list is invalid.
    """
    steps: list[int] = []
    for item in text.split(","):
        name = item.strip().removesuffix("%").strip()
        if name == "shadow" and not steps:
            steps.append(SHADOW_STEP)
        elif re.fullmatch("[0-9]{1,3}", name) and (steps[-1] if steps else 0) < int(name) <= _ALL:
            steps.append(int(name))
        else:
            raise OperationError(
                f"--steps {text}: '{item.strip()}' is not possible there. Use percentages that "
                f"rise to 100, such as {DEFAULT_STEPS}; only the first step can be 'shadow'."
            )
    if steps[-1] != _ALL or len(steps) > _MAX_STEPS:
        raise OperationError(
            f"--steps {text}: the last step must be 100, and there can be at most {_MAX_STEPS} "
            f"steps, such as {DEFAULT_STEPS}."
        )
    return tuple(steps)


def skip_steps(steps: Sequence[int], initial: int) -> tuple[int, ...]:
    """Return the steps in which the new version gets more than it has already."""
    return tuple(step for step in steps if step > initial) if initial else tuple(steps)


def parse_limit(option: str, text: str) -> float | None:
    """Return the share in a text such as `1%`, or None for `off`.

    Raises:
        OperationError: If it is neither.
    """
    if text == "off":
        return None
    match = _PERCENT.fullmatch(text.strip())
    share = float(match[1]) / 100 if match else 0.0
    if not 0.0001 <= share < 1:
        raise OperationError(
            f"{option} {text}: use a percentage from 0.01% to below 100%, or 'off'."
        )
    return share


def find_stable(spec: HostingSpec, model: str, version: str, steps: Sequence[int]) -> str:
    """Return the version from which a rollout moves the traffic.

    Raises:
        OperationError: If the traffic of the model cannot be moved to the version step by step.
    """
    entry = spec.models.get(model)
    if entry is None:
        raise OperationError(
            f"Model '{model}' is not in the stack. Models: {', '.join(spec.models)}."
        )
    others = [name for name, weight in entry.traffic.items() if weight and name != version]
    if not others:
        raise OperationError(f"Version {version} of {model} already receives all traffic.")
    if len(others) > 1:
        raise OperationError(
            f"The traffic of {model} is split between versions {', '.join(others)}. A rollout "
            f"moves it from one version: change models.{model}.traffic first, and run berth up."
        )
    if SHADOW_STEP in steps and entry.shadow not in (None, version):
        raise OperationError(
            f"Model {model} already has version {entry.shadow} as its shadow. Remove "
            f"models.{model}.shadow, or leave out the step 'shadow' with --steps."
        )
    for name in (others[0], version):
        declared = entry.versions.get(name)
        if declared is not None and declared.container is not None:
            raise OperationError(
                f"Version {name} of {model} runs in a container of your own, which does not report "
                f"its requests. Change models.{model}.traffic yourself, and run berth up."
            )
    return others[0]
