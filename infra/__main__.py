"""The program: specification -> platform -> exports."""

import asyncio
import os
import sys
from pathlib import Path

import pulumi

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `main: infra` puts this folder on the path, not the project's

from infra.platforms import deploy  # noqa: E402
from infra.spec import SpecError, load_config  # noqa: E402

try:
    spec = load_config(pulumi.get_stack())
    project = Path(os.environ.get("BERTH_PROJECT", ROOT))  # another one: see operations/rollback
    outputs = deploy(spec, stack=pulumi.get_stack(), root=project)
except SpecError as error:
    raise pulumi.RunError(str(error)) from None

for key, value in outputs.items():
    pulumi.export(key, value)


async def _all_begun() -> None:
    """Let the registration of every resource begin before the SDK waits for all of them.

    Then it waits for one after the other. Otherwise it finds none yet, and waits for all of their
    outputs at once, again and again: the square of their number, minutes for a thousand berths.
    """
    await asyncio.sleep(0)


pulumi.run(_all_begun)
