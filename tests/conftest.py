"""What all tests share: this checkout's packages, the real cluster, and how tests are distributed.

`berth test` runs the tests in several processes. Tests that share what fixtures start run in one
process, one after the other.
"""

import gc
import math
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests import leftovers
from tests.cluster.stacks import cluster, hosted
from tests.docker.lab import docker_engine, docker_lab, docker_servers
from tests.engine.project import ErrorResponseError
from tests.repository import PACKAGES

__all__ = ["cluster", "docker_engine", "docker_lab", "docker_servers", "hosted"]

# Processes that tests start run the packages of this checkout.
os.environ["PYTHONPATH"] = PACKAGES
# A shell starts a command in the background with SIGINT ignored, and what the tests start would
# inherit that. Some tests interrupt it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Several processes train and run models at once. With a thread per CPU in each of them, OpenMP's
# threads wait actively for each other and take most of the CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hypothesis fails an example that takes longer than 200 ms, which depends on the machine.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

# Tests in these directories start engines, clusters or an emulated cloud, whose speed depends on
# the machine. They also take longest and therefore start first. The tests of `docker` run in one
# process, which at the end would run for minutes without the others.
_REAL_PARTS = ("cluster", "parity", "docker", "aws", "engine")
# Tests in these start processes, whose speed depends on the machine too.
_WITH_PROCESSES = (*_REAL_PARTS, "gateway", "serving")
# All but the last of these modules share the stack of the fixture `hosted`, which runs until the
# end. The last balances the two groups.
_HOSTED = (
    *("test_up", "test_network", "test_traffic", "test_shared_limits", "test_same_responses"),
    *("test_ownership", "test_own_container", "test_components"),
)


# A continuous integration ends a run at its limit and then reports nothing. Tests that have not
# started by then are skipped.
_SECONDS = float(os.environ.get("BERTH_TEST_SECONDS", "inf"))
_STARTED = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Skip a test that would start after the time limit of the run."""
    if time.monotonic() - _STARTED > _SECONDS:
        pytest.skip(f"not started within the limit of {_SECONDS:.0f} s, BERTH_TEST_SECONDS")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="Run only tests that need no engine, cluster or cloud and are not marked slow.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let each process import another part of the modules with tests first.

    In a new checkout, Python compiles these modules and the packages that they import. Processes
    that import them in the same order compile each of them at the same time.
    """
    config.pluginmanager.register(leftovers)
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    files = [
        file
        for directory in sorted((config.rootpath / "tests").iterdir())
        if directory.is_dir() and not pytest_ignore_collect(directory, config)
        for file in sorted(directory.rglob("test_*.py"))
    ]
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    config.args = [str(file) for file in (*files[first:], *files[:first])]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for unreachable objects neither during the collection nor, later, among its objects.

    The modules with tests and what they import are a million objects that stay until the end. Each
    search through all of them takes as long as dozens of tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Repeat a failure of a test with processes once, because its cause may be a slow machine.

    The summary lists every repeated test (RERUN). An error response to a client is a defect however
    rare it is, and is never repeated.
    """
    if _directory(item) in _WITH_PROCESSES:
        item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=[ErrorResponseError.__name__]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why a test was repeated: its failure is not in the list of failures."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"{report.nodeid} ({report.when}) was repeated", sep="_")
        terminalreporter.line(report.longreprtext)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the tests with real parts in a quick run, in each of its processes."""
    with_real_parts = collection_path.is_dir() and collection_path.name in _REAL_PARTS
    return True if with_real_parts and config.getoption("--quick") else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Put long tests first, and leave slow ones out of a quick run."""
    # All processes must have the same order, whichever module each of them imported first.
    items.sort(key=lambda item: item.path)
    yield
    modules = {path: place for place, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (*_priority(item), modules[item.path], _runs_last(item)))
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)


class _GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives all tests of a group to one process: those of a module, or those of a stack.

    The other tests of the cluster are one group, because they need most of a small machine. So are
    the tests of what the stacks for AWS declare, because each process would run their programs
    again, and the tests of the Docker platform, which share engines.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.partition("::")[0])
        if path.parent.name == "reality" or path.stem == "test_policy_stacks":
            return "declared"
        if path.parent.name == "docker":
            return "docker"
        if path.parent.name not in ("cluster", "parity"):
            return str(path)
        return "hosted" if path.stem in _HOSTED else "cluster"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Return the scheduler of `berth test`.

    pytest-xdist's own `--dist loadgroup` has no effect with pytest 9.2, which no longer reads the
    group from the node ID.
    """
    return _GroupScheduling(config, log)


def _directory(item: pytest.Item) -> str:
    return item.path.parent.name


def _runs_last(item: pytest.Item) -> bool:
    return item.get_closest_marker("runs_last") is not None


def _priority(item: pytest.Item) -> tuple[int, bool]:
    """Return what sorts the longest groups of tests first.

    With a time limit, the short tests come before them, because nearly all tests are short.
    test_sites runs when test_stacks has ended: their stacks together need more CPUs than a small
    machine has.
    """
    order = ("test_stacks", *_REAL_PARTS)
    others = len(order) if math.isinf(_SECONDS) else -1
    first = min(
        (order.index(name) for name in (item.path.stem, _directory(item)) if name in order),
        default=others,
    )
    return first, item.path.stem == "test_sites"
