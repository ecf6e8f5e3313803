"""What a stack declares, asked of `infra.declared`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.operations.stack import OperationError

_ROOT = Path(__file__).resolve().parents[2]


def declarations(*arguments: str) -> list[dict[str, Any]]:
    """What `infra.declared ARGUMENTS` finds, in a process of its own: the engine's mocks are one
    per process.

    Raises:
        OperationError: the configuration is not a sound specification.
    """
    done = subprocess.run(
        [sys.executable, "-m", "infra.declared", *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OperationError(done.stderr.strip())
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
