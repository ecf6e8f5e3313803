"""The resources that a stack declares, from `berth.operations.offline_program`."""

import json
import subprocess
import sys
from typing import Any

from berth.errors import OperationError


def read_declarations(*arguments: str) -> list[dict[str, Any]]:
    """Return the resources that `berth.operations.offline_program ARGUMENTS` lists.

    It runs in a separate process, because Pulumi's mocks are global to a process.

    Raises:
        OperationError: If the configuration is not a valid specification.
    """
    result = subprocess.run(
        [sys.executable, "-m", "berth.operations.offline_program", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise OperationError(result.stderr.strip())
    resources: list[dict[str, Any]] = json.loads(result.stdout)
    return resources
