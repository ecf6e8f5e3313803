"""What all tests share: this checkout's packages, the real cluster, and how tests are distributed.

`berth test` runs the tests in several processes. Tests that share what fixtures start run in one
process, one after the other.
"""

import os

import pytest

from tests.cluster.stacks import cluster, hosted
from tests.engine.project import ErrorResponseError
from tests.repository import PACKAGES

__all__ = ["cluster", "hosted"]

# Processes that tests start run the packages of this checkout.
os.environ["PYTHONPATH"] = PACKAGES

# Tests in these directories start engines, clusters or an emulated cloud, whose speed depends on
# the machine. They also take longest and therefore start first.
_REAL_PARTS = ("cluster", "aws", "parity", "engine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="Run only tests that need no engine, cluster or cloud, and take less than 2 s each.",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Assign each test to a group, and repeat a failure among real parts once.

    The summary lists every repeated test (RERUN). A slow machine therefore does not fail the run.
    An error response to a client is a defect however rare it is, and is never repeated.
    """
    item.add_marker(pytest.mark.xdist_group(_group(item)))
    if _directory(item) in _REAL_PARTS:
        item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=[ErrorResponseError.__name__]))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put long tests first, and leave slow ones out of a quick run."""
    items.sort(key=_priority)
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        items[:] = [item for item in items if not _is_slow(item)]
        config.hook.pytest_deselected(items=slow)


def _group(item: pytest.Item) -> str:
    """Tests of one group run in one process: those of a module, or those of a shared cluster."""
    fixtures = getattr(item, "fixturenames", ())
    if "hosted" in fixtures:
        return "hosted"
    return "cluster" if _directory(item) == "cluster" else item.path.stem


def _directory(item: pytest.Item) -> str:
    return item.path.parent.name


def _priority(item: pytest.Item) -> int:
    directory = _directory(item)
    return _REAL_PARTS.index(directory) if directory in _REAL_PARTS else len(_REAL_PARTS)


def _is_slow(item: pytest.Item) -> bool:
    return _directory(item) in _REAL_PARTS or item.get_closest_marker("slow") is not None
