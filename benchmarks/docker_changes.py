"""Count the requests that fail while a stack on a Docker engine changes or loses a program.

    python -m benchmarks.docker_changes [CASE ...]

Each case sends requests from 8 clients, and repeats its change until at least 10,000 requests were
answered. It requires root and Debian's docker.io; the engine runs in its own namespaces, and ends
with the benchmark. About 15 minutes on 2 cores. Images that Berth's cache has are not built again.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.projects import open_docker_project
from benchmarks.runs import berth, describe_machine, say
from tests.docker.engine import skip_reason
from tests.docker.hosting import DockerProject
from tests.engine.project import wait_for

_REQUESTS = 10_000
_CLIENTS = 8
_READY_SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """A change of a running stack, or what happens to it.

    Attributes:
        change: Changes the stack once. Its second argument counts the changes from 0.
        prepare: Runs before the load, such as to deploy what a rollback leaves.
        pause_seconds: Time that a client waits after a response or a refused connection.
    """

    name: str
    change: Callable[[DockerProject, int], None]
    prepare: Callable[[DockerProject], None] = DockerProject.ensure_deployed
    pause_seconds: float = 0.002


@dataclass(frozen=True)
class Result:
    """What the clients of one case received."""

    name: str
    changes: int
    seconds: float
    requests: int
    failures: dict[str, int]


def _replace_berth(project: DockerProject, number: int) -> None:
    def change(config: Any) -> None:
        config["berth:models"]["digits"]["serving"] = {"max_batch": 64 + number}

    project.deploy(change)


def _change_weights(project: DockerProject, number: int) -> None:
    def change(config: Any) -> None:
        share = 10 * (1 + number % 8)
        config["berth:models"]["digits"]["traffic"] = {"1": 100 - share, "2": share}

    project.deploy(change)


def _deploy_another(project: DockerProject) -> None:
    project.ensure_deployed()
    _replace_berth(project, 0)


def _roll_back(project: DockerProject, number: int) -> None:
    """Roll back, which the next rollback undoes."""
    del number
    project.berth("rollback", "--yes")


def _kill(component: str) -> Callable[[DockerProject, int], None]:
    def kill(project: DockerProject, number: int) -> None:
        del number
        if component == "gateway":
            container = project.find_serving_gateway()
        elif component == "berth":
            container = project.container("berth", "digits", "2")
        else:
            container = project.container(component)
        project.kill_program(container)
        wait_for(project.is_serving, seconds=_READY_SECONDS)

    return kill


def _restart_engine(project: DockerProject, number: int) -> None:
    del number
    project.engine.restart_daemon()
    wait_for(project.is_serving, seconds=_READY_SECONDS)


CASES = (
    Case("replacement of a berth", _replace_berth),
    Case("change of weights", _change_weights),
    Case("rollback", _roll_back, _deploy_another),
    Case("kill -9 of a berth with a healthy version", _kill("berth")),
    Case("kill -9 of the serving gateway", _kill("gateway")),
    Case("kill -9 of the entry", _kill("entry"), pause_seconds=0.05),
    Case("restart of the engine", _restart_engine, pause_seconds=0.05),
)


def measure(project: DockerProject, case: Case) -> Result:
    """Run one case."""
    case.prepare(project)
    load = project.create_load()
    load.pause_seconds = case.pause_seconds
    began = time.monotonic()
    with load.running(_CLIENTS):
        changes = 0
        while load.total < _REQUESTS:
            case.change(project, changes)
            changes += 1
    seconds = time.monotonic() - began
    failures = {status: n for status, n in load.statuses.items() if status != "200"}
    return Result(case.name, changes, seconds, load.total, failures)


def main() -> None:
    """Print the results as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="Words of the names of cases. Defaults to all.")
    words = parser.parse_args().cases
    if reason := skip_reason():
        sys.exit(f"No Docker engine can start on this machine: {reason}.")
    selected = [case for case in CASES if not words or any(word in case.name for word in words)]
    with open_docker_project() as project:
        print(describe_machine())
        for name in ("first", "unchanged"):
            run = berth(project, "up", "--yes", minutes=30)
            if run.code != 0:
                sys.exit(run.log.read_text()[-2000:])
            print(f"`berth up` until the response of a model, {name}: {run.seconds:.0f} s")
        print(
            "\n| while | changes | seconds | requests | failed |\n|---|--:|--:|--:|---|", flush=True
        )
        for case in selected:
            say(case.name)
            result = measure(project, case)
            failed = "; ".join(f"{n} x {status}" for status, n in result.failures.items()) or "0"
            print(
                f"| {result.name} | {result.changes} | {result.seconds:.0f} | "
                f"{result.requests:,} | {failed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
