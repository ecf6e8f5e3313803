"""What a stack declares, asked of `berth.operations.declared`."""

import json
import subprocess
import sys
from typing import Any

from berth.errors import OperationError


def declarations(*arguments: str) -> list[dict[str, Any]]:
    """Return the resources that `berth.operations.declared ARGUMENTS` lists.

    It runs in a separate process, because Pulumi's mocks are global to a process.

    Raises:
        OperationError: the configuration is not a sound specification.
    """
    done = subprocess.run(
        [sys.executable, "-m", "berth.operations.declared", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OperationError(done.stderr.strip())
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
