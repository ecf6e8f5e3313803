"""What a rollout will do: steps, limits, traffic, and the change of the configuration file."""

from dataclasses import replace
from pathlib import Path

import pytest

from berth.errors import OperationError
from berth.operations.configuration import set_traffic
from berth.operations.rollout.plan import (
    FALSE_REVERSALS,
    Plan,
    find_stable,
    parse_limit,
    parse_steps,
    skip_steps,
)
from tests.unit.spec_file import load


def build_plan(steps: str = "shadow,5,100") -> Plan:
    return Plan(
        model="digits",
        version="2",
        stable="1",
        steps=parse_steps(steps),
        bake_seconds=60,
        step_seconds=3600,
        limits={"failed": 0.01, "slow": 0.05, "different": 0.2},
    )


def test_steps_are_shadow_and_rising_percentages() -> None:
    assert parse_steps("shadow, 5,25 %,100") == (0, 5, 25, 100)
    assert parse_steps("100") == (100,)


@pytest.mark.parametrize(
    "text",
    [
        *("", "shadow", "5,25", "25,5,100", "5,5,100", "5,shadow,100", "0,100", "101", "-5,100"),
        *("5,,100", "5.5,100", ",".join(map(str, range(80, 101)))),
    ],
)
def test_other_steps_are_rejected(text: str) -> None:
    with pytest.raises(OperationError, match=r"--steps .*shadow,5,25,50,100"):
        parse_steps(text)


def test_limit_is_a_percentage_or_off() -> None:
    assert parse_limit("--max-slow", "2.5%") == pytest.approx(0.025)
    assert parse_limit("--max-slow", "off") is None


@pytest.mark.parametrize("text", ["1", "0%", "100%", "0.001%", "-1%", "one", "", "1%%", "1e9%"])
def test_other_limits_are_rejected(text: str) -> None:
    with pytest.raises(OperationError, match=r"--max-slow .*percentage"):
        parse_limit("--max-slow", text)


def test_traffic_of_each_step_adds_up() -> None:
    plan = build_plan()
    assert [plan.traffic_of(step) for step in plan.steps] == [
        *({"1": 100, "2": 0}, {"1": 95, "2": 5}, {"1": 0, "2": 100}),
    ]
    assert [plan.shadow_of(step) for step in plan.steps] == ["2", None, None]


def test_rollout_continues_from_the_share_that_the_version_has() -> None:
    assert skip_steps((0, 5, 25, 100), 0) == (0, 5, 25, 100)
    assert skip_steps((0, 5, 25, 100), 5) == (25, 100)
    plan = replace(build_plan("25,100"), initial=10)
    assert plan.possible_traffic == [{"1": 100}, {"1": 90, "2": 10}, {"1": 75, "2": 25}, {"2": 100}]


def test_error_rate_is_divided_among_all_tests() -> None:
    # Three tests on the shadow; two in each of the other steps, where no answers are compared, and
    # one in the update of each.
    assert build_plan().errors.false_reversal == pytest.approx(FALSE_REVERSALS / 9)
    assert build_plan("50,100").errors.false_reversal == pytest.approx(FALSE_REVERSALS / 6)


MODELS = """\
config:
  berth:platform: local
  berth:models:
    digits:
      versions: {"1": {}, "2": {}, "3": {}}
      traffic: {"1": %s, "2": %s, "3": %s}
"""


def test_stable_version_has_the_traffic(tmp_path: Path) -> None:
    spec = load(tmp_path, MODELS % (100, 0, 0))
    assert find_stable(spec, "digits", "2", (5, 100)) == "1"
    assert find_stable(spec, "digits", "new", (5, 100)) == "1"
    # The rollout of a version that already has a part of the traffic.
    assert find_stable(load(tmp_path, MODELS % (90, 10, 0)), "digits", "2", (25, 100)) == "1"


@pytest.mark.parametrize(
    ("weights", "model", "version", "message"),
    [
        ((100, 0, 0), "cats", "2", "Model 'cats' is not in the stack. Models: digits"),
        ((100, 0, 0), "digits", "1", "already receives all traffic"),
        ((60, 0, 40), "digits", "2", "split between versions 1, 3"),
    ],
)
def test_impossible_rollouts_are_rejected(
    tmp_path: Path, weights: tuple[int, int, int], model: str, version: str, message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        find_stable(load(tmp_path, MODELS % weights), model, version, (5, 100))


def test_another_shadow_is_not_replaced(tmp_path: Path) -> None:
    spec = load(tmp_path, MODELS % (100, 0, 0) + '      shadow: "3"\n')
    with pytest.raises(OperationError, match="version 3 as its shadow"):
        find_stable(spec, "digits", "2", (0, 5, 100))
    assert find_stable(spec, "digits", "3", (0, 5, 100)) == "1"
    assert find_stable(spec, "digits", "2", (5, 100)) == "1"


FILE = """\
# The laptop.
config:
  berth:platform: local
  berth:models:
    digits:
      # Trained in March.
      versions:
        "1": {exposed: true}
      shadow: "1"
  berth:gateway:
    clients: {default: {rate_per_second: 5, burst: 5}}  # one client
"""


def test_traffic_changes_nothing_else_in_the_file() -> None:
    changed = set_traffic(FILE, "digits", {"1": 95, "2": 5}, None)
    assert changed == FILE.replace(
        '        "1": {exposed: true}\n      shadow: "1"\n',
        '        "1": {exposed: true}\n        "2": {}\n      traffic: {"1": 95, "2": 5}\n',
    )
    assert set_traffic(changed, "digits", {"1": 95, "2": 5}, None) == changed


def test_shadow_is_set(tmp_path: Path) -> None:
    changed = set_traffic(FILE, "digits", {"1": 100, "2": 0}, "2")
    model = load(tmp_path, changed).models["digits"]
    assert (model.shadow, model.traffic) == ("2", {"1": 100, "2": 0})


def test_missing_model_is_reported() -> None:
    with pytest.raises(OperationError, match=r"berth:models\.cats\.versions"):
        set_traffic(FILE, "cats", {"1": 100}, None)
