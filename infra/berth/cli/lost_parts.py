"""Unreachable parts that the specification no longer has: an update cannot delete them."""

from collections.abc import Sequence

from berth.cli.options import say
from berth.cli.stacks import read_stack_resources
from berth.errors import OperationError
from berth.operations.stack import Stack
from berth.platforms import get_platform
from berth.platforms.stack_context import LostPart, StackContext


def find_lost_parts(stack: Stack, context: StackContext) -> list[LostPart]:
    """Return the unreachable parts that the specification no longer has."""
    if not stack.exists():
        return []
    platform = get_platform(context.spec.platform)
    return platform.find_lost_parts(context, read_stack_resources(context))


def require_no_lost_parts(
    stack: Stack, context: StackContext, *, forget: Sequence[str] = ()
) -> None:
    """Check that the update can delete what the specification no longer has.

    Args:
        forget: Keys of parts whose resources leave the state instead. What remains is reported.

    Raises:
        OperationError: If a part is not reachable, or if `forget` has another one. Nothing was
            changed.
    """
    lost = find_lost_parts(stack, context)
    for key in forget:
        if key not in (part.key for part in lost):
            raise OperationError(
                f"--forget {key}: only a host that was removed from the specification and is not "
                f"reachable can be forgotten; there are: {_list_keys(lost)}. Nothing was changed. "
                "'berth up' deletes what the stack has on the others."
            )
    for part in lost:
        if part.key not in forget:
            raise OperationError(
                f"The specification no longer has {part.name}, and what the stack has there cannot "
                f"be deleted: {part.reason} Restore the connection and run the same command again. "
                f"If the server never returns, run 'berth up -s {context.stack} --forget "
                f"{part.key}': the stack forgets the host, and nothing there is deleted."
            )
    for part in lost:
        stack.forget(part.resources)
        say(f"Forgot {part.name}. {part.remains}")


def _list_keys(parts: Sequence[LostPart]) -> str:
    return ", ".join(part.key for part in parts) or "none"
