"""Measure how fast a rollout takes the traffic from a bad version, and a rollback returns it.

    python -m benchmarks.rollout_reverts [--platform NAME] [--requests N] [CASE ...]

50 requests per second reach a new stack while each version of `tests.bad_versions` is rolled
out, while a rollout is killed and resumed (`killed`), and while `berth rollback` returns the
traffic from a promoted version (`rollback`).
"""

import argparse
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import urllib3

from benchmarks.projects import PLATFORMS, open_project
from benchmarks.runs import describe_machine, say
from berth_protocol.model_card import read_card
from tests.bad_versions import HEALTHY, MODEL, STABLE, VERSIONS, package_version
from tests.engine.project import Project, wait_for

_PER_SECOND = 50
_CLIENTS = 32
# Enough requests decide within a minute. A busy machine makes requests slow.
_STEPS = {"wrong": "shadow,100"}
_DEFAULT_STEPS = "50,100"
_START_SECONDS = 600.0
_NO_LIMIT = {"rate_per_second": 100_000, "burst": 100_000}
_GUARDS = ("--bake", "5", "--max-failed", "5%", "--max-slow", "30%", "--max-different", "20%")


@dataclass
class Requests:
    """Requests at a fixed rate, and when which version answered them.

    Attributes:
        answers: Time in seconds since 1970, status and version of each response.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    answers: list[tuple[float, str, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator["Requests"]:
        """Send requests during the block."""
        sender = threading.Thread(target=self._send_all)
        sender.start()
        try:
            yield self
        finally:
            self._stop.set()
            sender.join()

    def _send_all(self) -> None:
        pool = urllib3.PoolManager(maxsize=_CLIENTS, retries=False, timeout=30)
        start = time.monotonic()
        with pool, ThreadPoolExecutor(_CLIENTS) as threads:
            number = 0
            while not self._stop.wait(max(start + number / _PER_SECOND - time.monotonic(), 0)):
                threads.submit(self._send, pool)
                number += 1

    def _send(self, pool: urllib3.PoolManager) -> None:
        try:
            response = pool.request("POST", self.url, body=self.body, headers=self.headers)
            status, version = str(response.status), response.headers.get("x-berth-version", "none")
        except urllib3.exceptions.HTTPError as error:
            status, version = type(error).__name__, "none"
        self.answers.append((time.time(), status, version))

    def find_last(self, version: str, after: float) -> float | None:
        """Return when the version answered for the last time, if it did after a time."""
        times = [at for at, _, owner in self.answers if owner == version and at > after]
        return max(times, default=None)

    def count_failed(self, *versions: str) -> int:
        """Return the number of requests to the versions that got no successful response."""
        return sum(status != "200" for _, status, owner in self.answers if owner in versions)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result of one rollout or rollback.

    Attributes:
        decided_seconds: From the first bad answer to the decision to revert.
        traffic_seconds: From the decision, or from the start of the rollback, to the last answer of
            the version that loses the traffic.
        recorded_seconds: From the same moment to the end of the command.
        stable_failed: Failed requests that another version or none answered.
    """

    name: str
    result: str
    decided_seconds: float | None
    traffic_seconds: float
    recorded_seconds: float
    reason: str
    requests: int
    own_failed: int
    stable_failed: int


def create_requests(project: Project) -> Requests:
    """Return requests with the example of version 1."""
    example = read_card(project.root / "models" / MODEL / STABLE).example
    return Requests(
        url=f"{project.json('status')['endpoint']}/v2/models/{MODEL}/infer",
        headers={"x-api-key": project.key(), "content-type": "application/json"},
        body=json.dumps(example).encode(),
    )


def measure_rollout(project: Project, version: str) -> Row:
    """Roll a version out under load."""
    steps = _STEPS.get(version, _DEFAULT_STEPS)
    arguments = ("rollout", MODEL, version, "--yes", "--json", "--steps", steps, *_GUARDS)
    with create_requests(project).running() as requests:
        time.sleep(10)  # The rollout derives from these requests when one is slow.
        process = project.start(*arguments)
        stdout, stderr = process.communicate()
        ended = time.time()
        time.sleep(3)
    if not stdout:
        raise SystemExit(stderr)
    return _describe_rollout(version, json.loads(stdout), requests, ended)


def measure_killed_rollout(project: Project) -> Row:
    """Kill the rollout of the healthy version while it watches, and resume it."""
    version = HEALTHY
    with create_requests(project).running() as requests:
        time.sleep(10)
        process = project.start("rollout", MODEL, version, "--yes", "--steps", "50,100", *_GUARDS)
        journal = project.root / ".berth" / "rollouts" / project.stack / f"{MODEL}.json"
        wait_for(
            lambda: journal.exists() and json.loads(journal.read_text())["phase"] == "watching",
            seconds=_START_SECONDS,
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
        say("  killed")
        process = project.start("rollout", MODEL, version, "--resume", "--yes", "--json")
        stdout, stderr = process.communicate()
        ended = time.time()
    if not stdout:
        raise SystemExit(stderr)
    row = _describe_rollout(version, json.loads(stdout), requests, ended)
    return replace(row, name=f"killed and resumed rollout of {version}")


def _describe_rollout(version: str, result: Any, requests: Requests, ended: float) -> Row:
    events = result["events"]
    decided = next((e["at"] for e in events if e["text"].startswith("Reverting")), ended)
    last = requests.find_last(version, decided)
    bad = [at for at, status, owner in requests.answers if owner == version and status != "200"]
    for event in events:
        say(f"  {event['at'] - events[0]['at']:.1f} {event['text']}")
    return Row(
        name=f"rollout of {version}",
        result=result["result"],
        decided_seconds=round(decided - min(bad), 1) if bad else None,
        traffic_seconds=round(last - decided, 2) if last and decided != ended else 0.0,
        recorded_seconds=round(ended - decided, 1),
        reason=result.get("reason", ""),
        requests=len(requests.answers),
        own_failed=requests.count_failed(version),
        stable_failed=requests.count_failed(STABLE, "none"),
    )


def measure_rollback(project: Project, version: str, enough: int) -> Row:
    """Send all traffic to a version, and roll back under load until enough requests were sent."""

    def set_traffic(**percents: int) -> None:
        def change(config: Any) -> None:
            entry = config["berth:models"][MODEL]
            entry["versions"].setdefault(version, {})
            entry["traffic"] = {STABLE: percents["stable"], version: 100 - percents["stable"]}

        project.edit(change)
        project.berth("up", "--yes")

    set_traffic(stable=100)
    set_traffic(stable=0)
    with create_requests(project).running() as requests:
        time.sleep(5)
        start = time.time()
        process = project.start("rollback", "--yes", "--json")
        stdout, stderr = process.communicate()
        ended = time.time()
        if process.returncode:
            raise SystemExit(f"{stdout}\n{stderr}")
        while len(requests.answers) < enough:
            time.sleep(1)
    last = requests.find_last(version, start) or start
    return Row(
        name=f"rollback from {version}",
        result=f"update {json.loads(stdout)['rolled_back_to']}",
        decided_seconds=None,
        traffic_seconds=round(last - start, 2),
        recorded_seconds=round(ended - start, 1),
        reason="",
        requests=len(requests.answers),
        own_failed=requests.count_failed(version),
        stable_failed=requests.count_failed(STABLE, "none"),
    )


def _prepare(project: Project) -> None:
    """Package the versions, and deploy only version 1."""
    for kind in VERSIONS:
        package_version(project.root, project.environment, kind)

    def simplify(config: Any) -> None:
        before = config["berth:models"][MODEL]
        entry = {key: before[key] for key in ("resources",) if key in before}
        config["berth:models"] = {MODEL: {**entry, "versions": {STABLE: {}}}}
        # More than the requests need. On AWS, API Gateway limits all clients together.
        highest = config.get("berth:api", {}).get("rate_limit", _NO_LIMIT)
        config["berth:gateway"]["clients"] = {"default": dict(highest)}

    project.edit(simplify)
    project.berth("up", "--yes")


def _deploy_only_stable(project: Project) -> None:
    """Deploy version 1 with all traffic, after a promotion."""

    def change(config: Any) -> None:
        entry = config["berth:models"][MODEL]
        if entry["versions"].keys() == {STABLE}:
            return
        entry["versions"] = {STABLE: {}}
        entry.pop("traffic", None)

    project.deploy(change)


def main() -> None:
    """Run the benchmark and print one line per result."""
    parser = argparse.ArgumentParser(prog="benchmarks.rollout_reverts")
    parser.add_argument("--platform", choices=PLATFORMS, default="local")
    parser.add_argument("--requests", type=int, default=10_000, help="Requests of the rollback.")
    parser.add_argument("cases", nargs="*", default=[*VERSIONS, "killed", "rollback"])
    arguments = parser.parse_args()
    say(describe_machine())
    with open_project(arguments.platform) as project:
        _prepare(project)
        for case in arguments.cases:
            say(case)
            match case:
                case "rollback":
                    row = measure_rollback(project, HEALTHY, arguments.requests)
                case "killed":
                    row = measure_killed_rollout(project)
                case _:
                    row = measure_rollout(project, case)
            print(json.dumps(asdict(row)), flush=True)
            _deploy_only_stable(project)


if __name__ == "__main__":
    main()
