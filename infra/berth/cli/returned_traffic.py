"""The first part of `berth rollback`: requests return to versions that still run."""

import time

from berth.cli.options import say
from berth.cli.stacks import read_recorded_state, read_stack_resources
from berth.errors import OperationError
from berth.operations.traffic_shift import find_warm_models
from berth.operations.update import Update
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_recorded
from pulumi_berth.traffic_rules import get_receivers


def return_traffic(context: StackContext, latest: Update, *, since: float) -> list[str]:
    """Move the requests of all models that can serve them, and return these models.

    The update that follows moves all others, so a problem is only reported.

    Args:
        context: The stack with the specification that it returns to.
        latest: The stack's latest update, with its configuration.
        since: `time.monotonic()` when the rollback began.
    """
    platform = get_platform(context.spec.platform)
    try:
        current = load_recorded(context.stack, latest.config, latest.secrets)
        outputs = read_recorded_state(context.root, context.stack).outputs
        models = find_warm_models(current, context.spec, platform.observe(context, outputs))
        if not models:
            return []
        shifted = platform.shift_traffic(context, read_stack_resources(context), models)
    except (OperationError, SpecError) as error:
        say(f"The traffic could not be returned before the update: {error}")
        return []
    for model in shifted:
        shares = get_receivers(context.spec.models[model].traffic)
        described = ", ".join(f"{percent} % to version {name}" for name, percent in shares.items())
        say(f"Requests to {model} return after {time.monotonic() - since:.1f} s: {described}")
    return shifted
