"""How often `berth rollout` decides wrongly, over many seeded rollouts of simulated versions.

The rollouts run the product's controller, guards and journal. Only the stack is simulated: it
answers a Poisson stream of requests and reports the metrics of Berth's programs. Time is simulated
too, so that a rollout of an hour takes a second.

    python -m benchmarks.rollout_decisions --rollouts 200
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np

from berth.operations.rollout.controller import Clock, Controller
from berth.operations.rollout.journal import Journal, Phase
from berth.operations.rollout.plan import Plan, parse_steps

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_STABLE, _NEW = "1", "2"
# The healthy version of the stack: 0.05 % of its requests fail, and its durations have a long tail.
_FAILED, _MEDIAN_SECONDS, _SIGMA = 0.0005, 0.004, 0.35


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """What a simulated version does.

    Attributes:
        failed: Share of its requests that fail.
        slow: Share of its requests that take 0.4 s.
        different: Share of its answers that differ from the stable version's.
        is_bad: Whether a rollout must revert it.
    """

    failed: float = _FAILED
    slow: float = 0.0
    different: float = 0.01
    is_bad: bool = False


BEHAVIORS: dict[str, Behavior] = {
    "healthy": Behavior(),
    "healthy, every share just acceptable": Behavior(failed=0.001, slow=0.0095, different=0.05),
    "fails 20 %": Behavior(failed=0.2, is_bad=True),
    "fails 1 %, the limit": Behavior(failed=0.01, is_bad=True),
    "slow for 30 %": Behavior(slow=0.3, is_bad=True),
    "slow for 5 %, the limit": Behavior(slow=0.05, is_bad=True),
    "another answer for 60 %": Behavior(different=0.6, is_bad=True),
    "another answer for 20 %, the limit": Behavior(different=0.2, is_bad=True),
}


@dataclass
class SimulatedStack:
    """A stack with two versions, whose clock only moves when the rollout waits."""

    behavior: Behavior
    random: np.random.Generator
    requests_per_second: float
    now: float = 0.0
    share: float = 0.0
    has_shadow: bool = False
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def deploy(
        self,
        traffic: Mapping[str, int],
        shadow: str | None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Change the traffic; an update takes five seconds before it and five after it."""
        for second in range(10):
            if second == 5:
                self.share, self.has_shadow = traffic.get(_NEW, 0) / 100, shadow == _NEW
            self.sleep(1.0)
            look()

    def shift(self, traffic: Mapping[str, int]) -> bool:  # noqa: ARG002 - as in `Target`
        """Move nothing, so that `revert` does."""
        return False

    def revert(self, traffic: Mapping[str, int]) -> None:
        """Return the traffic."""
        self.deploy(traffic, None)

    def find_unready(self) -> list[str]:
        """All versions are ready."""
        return []

    def sleep(self, seconds: float) -> None:
        """Move the clock, and send what clients send meanwhile."""
        self.now += seconds
        total = int(self.random.poisson(self.requests_per_second * seconds))
        new = int(self.random.binomial(total, self.share))
        self._answer(_STABLE, total - new, Behavior())
        self._answer(_NEW, new, self.behavior)
        if self.has_shadow:
            self._answer(_NEW, total, self.behavior)
            different = int(self.random.binomial(total, self.behavior.different))
            self.counts["compared", _NEW, "different"] += different
            self.counts["compared", _NEW, "equal"] += total - different

    def _answer(self, version: str, number: int, behavior: Behavior) -> None:
        failed = int(self.random.binomial(number, behavior.failed))
        self.counts["requests", version, "500"] += failed
        self.counts["requests", version, "200"] += number - failed
        seconds = _MEDIAN_SECONDS * np.exp(_SIGMA * self.random.standard_normal(number))
        seconds[self.random.random(number) < behavior.slow] = 0.4
        for bound in _BOUNDS:
            self.counts["within", version, str(bound)] += int((seconds <= bound).sum())
        self.counts["within", version, "+Inf"] += number

    def scrape(self) -> Mapping[str, str]:
        """Return the metrics in Prometheus' format."""
        names = {
            "requests": ("berth_requests_total", "code"),
            "within": ("berth_request_seconds_bucket", "le"),
            "compared": ("berth_gateway_shadow_compared_total", "outcome"),
        }
        lines = []
        for (kind, version, value), number in self.counts.items():
            name, label = names[kind]
            lines.append(f'{name}{{model="m",version="{version}",{label}="{value}"}} {number}')
        return {"stack": "\n".join(lines) + "\n"}


def run_rollout(arguments: tuple[str, int, float]) -> dict[str, Any]:
    """Run one rollout of a behavior with a seed, and return how it ended."""
    name, seed, rate = arguments
    stack = SimulatedStack(BEHAVIORS[name], np.random.default_rng(seed), rate)
    stack.sleep(60.0)
    plan = Plan(
        model="m",
        version=_NEW,
        stable=_STABLE,
        steps=parse_steps("shadow,5,25,50,100"),
        bake_seconds=60,
        step_seconds=6 * 3600,
        limits={"failed": 0.01, "slow": 0.05, "different": 0.2},
    )
    with tempfile.TemporaryDirectory(prefix="berth-rollout-") as directory:
        journal = Journal(path=Path(directory) / "journal.json", plan=plan)
        clock = Clock(now=lambda: stack.now, sleep=stack.sleep)
        started = stack.now
        phase = Controller(journal, stack, report=lambda _: None, clock=clock).run()
    return {
        "behavior": name,
        "promoted": phase is Phase.PROMOTED,
        "step": journal.step,
        "minutes": (stack.now - started) / 60,
        "reason": journal.reason,
    }


def main() -> None:
    """Run the rollouts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--requests-per-second", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = list(BEHAVIORS)
    jobs = [
        (names[i % len(names)], options.seed * 1_000_000 + i, options.requests_per_second)
        for i in range(options.rollouts)
    ]
    with Pool() as pool:
        results = pool.map(run_rollout, jobs, chunksize=1)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print("| version | rollouts | promoted | reverted | median minutes | wrong |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in names:
        own = [result for result in results if result["behavior"] == name]
        promoted = sum(result["promoted"] for result in own)
        wrong = promoted if BEHAVIORS[name].is_bad else len(own) - promoted
        minutes = float(np.median([result["minutes"] for result in own])) if own else 0.0
        reverted = len(own) - promoted
        print(f"| {name} | {len(own)} | {promoted} | {reverted} | {minutes:.1f} | {wrong} |")


if __name__ == "__main__":
    main()
