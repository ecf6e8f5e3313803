"""The release that a rollback returns to: is it complete? Each update records the answer.

The answers are in a tag of the stack, which each backend keeps: `4 5 6` for complete releases, and
one tag with the reason for each incomplete one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from berth.errors import OperationError
from berth.operations.past_states import read_past_state
from berth.operations.rollback import choose_update
from berth.operations.stack import Stack
from berth.operations.update import COMPLETE_TAG, INCOMPLETE_TAG, Update
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_recorded

# A tag's value has at most 256 characters: pkg/util/validation/stack.go of Pulumi.
_VALUE_CHARACTERS = 256
_KEPT = 25


def find_missing_parts(root: Path, name: str, update: Update) -> list[str] | None:
    """Return what the release of an update ran and what no longer exists, one line each.

    None if it is unknown what it ran.
    """
    # The clients of registries take long to import, and a rollback moves the traffic first.
    from berth.operations.completeness import find_missing, read_needs

    state = read_past_state(root, name, update.number)
    if state is None:
        return None
    try:
        spec = load_recorded(name, update.config, update.secrets)
    except SpecError as error:
        return list(error.problems)
    context = StackContext(root=root, stack=name, spec=spec)
    return find_missing(read_needs(state), context, commit=update.commit)


def record_completeness(stack: Stack, say: Callable[[str], None]) -> None:
    """Record whether the release is complete that `berth rollback` returns to now.

    A failure to find out does not fail the update, which has changed the stack.
    """
    try:
        history = stack.history(show_secrets=True)
        previous = _find_previous(history)
        if previous is None:
            return
        missing = find_missing_parts(stack.root, stack.name, previous)
        if missing is None:
            return
        if missing:
            say(f"The release of update {previous.number} is not complete: {'; '.join(missing)}.")
        tags = stack.tags()
        for tag, value in _update_tags(tags, previous.number, missing).items():
            if value != tags.get(tag):
                stack.set_tag(tag, value)
    except OperationError as error:
        say(f"Could not record whether the previous release is complete: {error}")


def read_completeness(tags: Mapping[str, str]) -> dict[int, str]:
    """Return the recorded answers by the number of the release's update."""
    from berth.operations.completeness import format_completeness

    found = {int(number): "" for number in tags.get(COMPLETE_TAG, "").split()}
    for tag, value in tags.items():
        number = tag.removeprefix(INCOMPLETE_TAG)
        if number != tag and number.isdecimal() and value:
            found[int(number)] = value
    return {
        number: format_completeness([value] if value else []) for number, value in found.items()
    }


def _find_previous(history: list[Update]) -> Update | None:
    deployed = [update for update in history if update.kind == "update" and update.succeeded]
    if not deployed:
        return None
    previous = choose_update(history, None)
    # Without an earlier release, a rollback repairs the current one.
    return None if previous is history[-1] else previous


def _update_tags(tags: Mapping[str, str], number: int, missing: list[str]) -> dict[str, str]:
    """Return the tags to set. An empty value means that the release is complete again."""
    complete = {int(each) for each in tags.get(COMPLETE_TAG, "").split()} - {number}
    reason_tag = f"{INCOMPLETE_TAG}{number}"
    changed: dict[str, str] = {}
    if missing:
        reason = "; ".join(missing)
        changed[reason_tag] = (
            reason if len(reason) <= _VALUE_CHARACTERS else f"{reason[: _VALUE_CHARACTERS - 3]}..."
        )
    else:
        complete.add(number)
        if tags.get(reason_tag):
            changed[reason_tag] = ""
    text = " ".join(map(str, sorted(complete)[-_KEPT:]))
    if text != tags.get(COMPLETE_TAG, ""):
        changed[COMPLETE_TAG] = text
    return changed
