"""The Pulumi program of every stack: specification, platform, outputs."""

import asyncio

import pulumi

from berth.platforms import get_platform
from berth.project import program_project
from berth.spec import SpecError, load_config


def run() -> None:
    """Deploy the stack that Pulumi runs this program for, and export its outputs.

    `infra/__main__.py` of a project calls this.

    Raises:
        pulumi.RunError: If the stack's configuration is not a valid specification.
    """
    try:
        spec = load_config(pulumi.get_stack())
        platform = get_platform(spec.platform)
        outputs = platform.deploy(spec, stack=pulumi.get_stack(), root=program_project())
    except SpecError as error:
        raise pulumi.RunError(str(error)) from None
    for key, value in outputs.items():
        pulumi.export(key, value)
    pulumi.run(_start_registrations)


async def _start_registrations() -> None:
    """Let the registration of every resource start before the SDK waits for all of them.

    The SDK then waits for one after the other. Otherwise it finds none, and waits for all of their
    outputs at once, again and again: quadratic in their number, minutes for 1,000 berths.
    """
    await asyncio.sleep(0)
