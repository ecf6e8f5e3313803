"""What several folders of tests share: the cluster and the stack on it are started once."""

import os

import pytest

from tests.cluster.stacks import cluster, hosted
from tests.engine.project import ErrorAnsweredError
from tests.repository import PACKAGES

# Processes that tests start run the packages of this checkout.
os.environ["PYTHONPATH"] = PACKAGES

__all__ = ["cluster", "hosted"]

# Where processes, pods and an emulated cloud take the time that the machine gives them.
_REAL_PARTS = ("engine", "aws", "cluster", "parity")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What fails among real parts has a second try, and the summary names it (RERUN), so that a
    slow machine alone refuses nothing; but an error as an answer to a client is a
    defect however seldom it is."""
    for item in items:
        if item.path.parent.name in _REAL_PARTS:
            item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=[ErrorAnsweredError.__name__]))
