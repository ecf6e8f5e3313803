"""Measure how fast a rollout takes the traffic from a bad version, and a rollback returns it.

    python -m benchmarks.rollout_reverts PROJECT [--stack NAME] [VERSION ...]

PROJECT is the directory of a project whose stack runs the model `digits` only with version 1, or a
directory that does not exist: then the benchmark creates a project for platform local, and ends it.
50 requests per second reach the stack while each version of `benchmarks.bad_versions` is rolled
out, and while `berth rollback` returns the traffic from a promoted version.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import urllib3

from benchmarks.bad_versions import MODEL, STABLE, VERSIONS, package_versions
from benchmarks.runs import describe_machine, say
from berth_protocol.model_card import read_card
from tests.engine.project import Project
from tests.repository import PACKAGES

_PER_SECOND = 50
_CLIENTS = 32
# Enough requests decide within a minute. A busy machine makes requests slow.
_STEPS = {"wrong": "shadow,100"}
_DEFAULT_STEPS = "50,100"
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
        cpu_seconds: CPU time of the command and its processes, from the same moment.
        stable_failed: Failed requests that another version or none answered.
    """

    name: str
    result: str
    decided_seconds: float | None
    traffic_seconds: float
    recorded_seconds: float
    cpu_seconds: float | None
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
    result = json.loads(stdout)
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
        cpu_seconds=None,
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
        before, start = _children_cpu(), time.time()
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
        cpu_seconds=round(_children_cpu() - before, 1),
        requests=len(requests.answers),
        own_failed=requests.count_failed(version),
        stable_failed=requests.count_failed(STABLE, "none"),
    )


def _children_cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


def _create_project(root: Path) -> Project:
    project = Project.copy_to(root)
    package_versions(root, project.environment)

    def simplify(config: Any) -> None:
        config["berth:models"] = {MODEL: {"versions": {STABLE: {}}}}
        clients = {"default": {"rate_per_second": 100_000, "burst": 100_000}}
        config["berth:gateway"]["clients"] = clients

    project.edit(simplify)
    project.berth("up", "--yes")
    return project


def main() -> None:
    """Run the benchmark and print one line per result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--requests", type=int, default=10_000, help="Requests of the rollback.")
    parser.add_argument("--no-rollback", action="store_true")
    parser.add_argument("versions", nargs="*", default=[*VERSIONS[1:], VERSIONS[0]])
    arguments = parser.parse_args()
    say(describe_machine())
    is_new = not arguments.project.exists()
    project = _create_project(arguments.project) if is_new else _open(arguments)
    try:
        rows = (measure_rollout(project, version) for version in arguments.versions)
        for row in rows:
            print(json.dumps(asdict(row)), flush=True)
        if not arguments.no_rollback:
            row = measure_rollback(project, VERSIONS[0], arguments.requests)
            print(json.dumps(asdict(row)), flush=True)
    finally:
        if is_new:
            project.berth("destroy", "--yes")


def _open(arguments: argparse.Namespace) -> Project:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
    environment = inherited | {"PYTHONPATH": PACKAGES}
    return Project(arguments.project.resolve(), arguments.stack, environment)


if __name__ == "__main__":
    main()
