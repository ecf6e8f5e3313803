"""A rollout of a version on a simulated stack."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from berth.operations.rollout.controller import Clock, Controller
from berth.operations.rollout.journal import Journal, Phase
from berth.operations.rollout.plan import Plan, parse_steps


class Killed(BaseException):
    """The process ends as with `kill -9`."""


@dataclass
class Stack:
    """A stack whose new version fails some of its requests, and whose clock moves when it waits."""

    failing_percent: int = 0
    requests_per_second: int = 50
    now: float = 0.0
    traffic: Mapping[str, int] = field(default_factory=lambda: {"1": 100, "2": 0})
    shadow: str | None = None
    deployed: list[tuple[int, str | None]] = field(default_factory=list)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unready: list[str] = field(default_factory=list)
    update_seconds: int = 2
    can_shift: bool = True
    shifted: list[int] = field(default_factory=list)
    hook: Callable[[str], None] = lambda _: None

    def deploy(
        self,
        traffic: Mapping[str, int],
        shadow: str | None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Deploy a split: the traffic moves after half of the update."""
        self.hook("before deploy")
        for second in range(self.update_seconds):
            if second == self.update_seconds // 2:
                self.traffic, self.shadow = dict(traffic), shadow
                self.deployed.append((traffic.get("2", 0), shadow))
            self.sleep(1)
            look()
        self.hook("after deploy")

    def shift(self, traffic: Mapping[str, int]) -> bool:
        self.hook("before shift")
        self.shifted.append(traffic.get("2", 0))
        if self.can_shift:
            self.traffic, self.shadow = dict(traffic), None
        return self.can_shift

    def revert(self, traffic: Mapping[str, int]) -> None:
        self.hook("before revert")
        self.deploy(traffic, None)

    def find_unready(self) -> list[str]:
        return self.unready

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        number = round(self.requests_per_second * seconds)
        self._answer("1", number * self.traffic["1"] // 100, 0)
        own = number * self.traffic["2"] // 100 + (number if self.shadow else 0)
        self._answer("2", own, own * self.failing_percent // 100)
        if self.shadow:
            self.counts["berth_gateway_shadow_compared_total", "2", 'outcome="equal"'] += number

    def _answer(self, version: str, number: int, failed: int) -> None:
        self.counts["berth_requests_total", version, 'code="500"'] += failed
        self.counts["berth_requests_total", version, 'code="200"'] += number - failed
        self.counts["berth_request_seconds_bucket", version, 'le="0.005"'] += number
        self.counts["berth_request_seconds_bucket", version, 'le="0.01"'] += number
        self.counts["berth_request_seconds_bucket", version, 'le="0.025"'] += number
        self.counts["berth_request_seconds_bucket", version, 'le="+Inf"'] += number

    def scrape(self) -> Mapping[str, str]:
        self.hook("scrape")
        lines = [
            f'{name}{{model="m",version="{version}",{label}}} {number}'
            for (name, version, label), number in self.counts.items()
        ]
        return {"stack": "\n".join(lines) + "\n"}


def build_journal(directory: Path, steps: str = "shadow,10,100", **settings: float) -> Journal:
    plan = Plan(
        model="m",
        version="2",
        stable="1",
        steps=parse_steps(steps),
        bake_seconds=settings.get("bake_seconds", 10),
        step_seconds=settings.get("step_seconds", 600),
        limits={"failed": 0.01, "slow": 0.05, "different": 0.2},
    )
    return Journal(path=directory / "rollout.json", plan=plan)


def run(journal: Journal, stack: Stack) -> Phase:
    lines: list[str] = []
    clock = Clock(now=lambda: stack.now, sleep=stack.sleep)
    return Controller(journal, stack, report=lines.append, clock=clock).run()
