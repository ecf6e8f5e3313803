"""The stack that a command works on: its specification, the engine, and recorded state."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.cli.options import say
from berth.errors import OperationError
from berth.operations.state_file import RecordedState, read_state, require_deployed
from berth.platforms import get_platform
from berth.platforms.stack_context import SkippedPart, StackContext, pass_skipped_parts
from berth.spec import HostingSpec, SpecError, load_file, load_recorded

if TYPE_CHECKING:
    from berth.operations.stack import Stack


def load_spec(root: Path, name: str) -> HostingSpec:
    """Return the specification of a stack."""
    return load_file(root / f"Pulumi.{name}.yaml")


def load_deployable_spec(
    root: Path, name: str, path: Path | None = None, *, warns: bool = True
) -> HostingSpec:
    """Return the specification after checking all that `berth preflight` requires of every stack.

    Args:
        path: The configuration file of an earlier update, whose images exist: no tool is required.
            Defaults to the stack's own file.
        warns: Whether to report the platform's warnings.

    Raises:
        SpecError: If the stack cannot be deployed.
        OperationError: If a required tool is missing.
    """
    from berth.operations.preflight import list_requirements, require

    source = path or root / f"Pulumi.{name}.yaml"
    # An earlier configuration is complete, and only a rollback writes it to the stack's file.
    spec = load_complete_spec(root, name) if path is None else load_file(source)
    context = StackContext(root=root, stack=name, spec=spec)
    requirements = list_requirements(context, source, say)
    require(context, [one for one in requirements if path is None or one.name != "tools"])
    for warning in get_platform(spec.platform).find_warnings(spec) if warns else ():
        say(f"Warning: {warning}")
    return spec


def load_complete_spec(root: Path, name: str) -> HostingSpec:
    """Return the specification, after the platform has recorded what it finds out by itself.

    Raises:
        SpecError: If the file is not a valid specification, or something cannot be found out.
    """
    spec = load_spec(root, name)
    context = StackContext(root=root, stack=name, spec=spec)
    recorded = get_platform(spec.platform).complete_configuration(context)
    for line in recorded:
        say(line)
    return load_spec(root, name) if recorded else spec


def require_preflight(context: StackContext, skipped: Sequence[SkippedPart] = ()) -> None:
    """Report what the platform's checks found, and exit with status 1 if one failed.

    `load_deployable_spec` has checked the requirements.

    Args:
        skipped: Unreachable parts, which were reported.
    """
    from berth.operations.preflight import find_problems, format_lines, has_failed, select_notable

    findings = find_problems(context, requirements=[])
    reported = tuple(f"{part.key}: " for part in skipped)
    if notable := [
        each for each in select_notable(findings) if not each.check.startswith(reported)
    ]:
        say(format_lines(notable))
    if has_failed(findings):
        say("Nothing was changed.")
        sys.exit(1)


def open_context(root: Path, name: str) -> StackContext:
    """Return the stack with its specification, for commands that only read the stack.

    If the configuration file cannot be used, the specification is the one that the stack's last
    update recorded, and this is reported in one line.
    """
    return StackContext(root=root, stack=name, spec=load_current_or_recorded_spec(root, name))


def load_current_or_recorded_spec(
    root: Path, name: str, *, report: Callable[[str], None] = say
) -> HostingSpec:
    """Return the specification in the configuration file, or in the stack's last update.

    Args:
        report: Gets one line if the file cannot be used.

    Raises:
        SpecError: If the file cannot be used and no update recorded a usable configuration.
    """
    try:
        return load_spec(root, name)
    except SpecError as error:
        problem = error
    try:
        history = open_stack(root, name).history()
    except OperationError:
        raise problem from None
    for update in reversed(history):
        if update.kind != "update":
            continue
        with contextlib.suppress(SpecError):
            spec = load_recorded(name, update.config, update.secrets)
            report(
                f"Using the configuration that update {update.number} recorded, because the file "
                f"cannot be used: {problem.problems[0]}"
            )
            return spec
    raise problem


def open_stack(root: Path, name: str, *, to_stderr: bool = False) -> "Stack":
    """Return the stack for commands that only read it.

    Raises:
        NeverDeployedError: If it was never deployed, as far as files tell.
    """
    require_deployed(root, name)
    return _open_stack(root, name, to_stderr=to_stderr)


def _open_stack(root: Path, name: str, *, to_stderr: bool) -> "Stack":
    # Commands that read the recorded state do not need these.
    from berth.engine import ensure_engine
    from berth.operations.stack import Stack

    engine = ensure_engine(say)
    return Stack(name, root, engine.environment(root), to_stderr=to_stderr)


def open_stack_for_update(
    root: Path, name: str, spec: HostingSpec, *, to_stderr: bool = False
) -> "Stack":
    """Return the stack with its platform's providers, and the security baseline if it has one."""
    from berth.engine import ensure_providers

    stack = _open_stack(root, name, to_stderr=to_stderr)
    platform = get_platform(spec.platform)
    ensure_providers(platform, stack.environment, say)
    return replace(stack, policy_pack=find_policy_pack(spec))


def find_policy_pack(spec: HostingSpec) -> Path | None:
    """Return the directory of the security baseline, if it runs on the stack.

    A specification can require it on a platform without rules of its own: a program can declare
    other resources.
    """
    from berth.operations.preflight import POLICY_PACK

    platform = get_platform(spec.platform)
    return POLICY_PACK if platform.has_security_baseline or spec.policy.require_policy else None


def read_recorded_state(root: Path, name: str) -> RecordedState:
    """Return outputs without secrets, and the latest update, without the engine if possible.

    If the stack's first update failed, the outputs describe the resources that exist.

    Raises:
        OperationError: If the stack is not deployed.
    """
    recorded = read_state(root, name)
    if recorded is not None and "endpoint" in recorded.outputs:
        return recorded
    stack = open_stack(root, name)
    try:
        outputs = stack.outputs()
    except OperationError:
        partial = _build_partial_outputs(stack)
        if partial is None:
            raise
        outputs = partial
    return RecordedState(outputs, stack.history()[-1])


def _build_partial_outputs(stack: "Stack") -> dict[str, Any] | None:
    try:
        resources = stack.resources()
        context = open_context(stack.root, stack.name)
    except (OperationError, SpecError):
        return None
    return get_platform(context.spec.platform).build_partial_outputs(context, resources)


def find_skipped_parts(spec: HostingSpec, root: Path) -> list[SkippedPart]:
    """Return the unreachable parts of the stack and report each."""
    parts = get_platform(spec.platform).find_unreachable_parts(spec, root)
    for part in parts:
        say(f"Skipping {part.name}: {part.reason}")
    return parts


def open_program(stack: "Stack", parts: Sequence[SkippedPart]) -> "Stack":
    """Return the stack with a program that needs nothing new of the skipped parts."""
    return replace(stack, environment={**stack.environment, **pass_skipped_parts(parts)})


def exit_if_skipped(parts: Sequence[SkippedPart], name: str) -> None:
    """Exit with status 1 if parts were skipped, because the operation is not complete."""
    if parts:
        say(
            f"Not changed: {', '.join(part.name for part in parts)}. Restore the connection and "
            f"run the same command on stack '{name}' again."
        )
        sys.exit(1)


def report_drift(
    stack: "Stack",
    context: StackContext,
    skipped: Sequence[SkippedPart] = (),
    *,
    is_required: bool = False,
) -> list[str]:
    """Report what differs from the stack's last update, and return it, one line each.

    Args:
        is_required: Whether a resource that cannot be read is an error. An update can repair it,
            so it only reports it.

    Raises:
        OperationError: If `is_required` and a resource cannot be read.
    """
    from berth.operations.drift import format_drift, merge_drift
    from berth.operations.lifecycle import exclude

    platform = get_platform(context.spec.platform)
    drift: Sequence[object] = ()
    if not platform.has_external_resources:
        # A stack that does not exist yet has no drift, and no cluster to ask.
        with contextlib.suppress(OperationError, SpecError):
            drift = find_drift(context)
    elif stack.exists():
        try:
            resources = read_stack_resources(context)
            drift = lines = platform.find_drift(context, resources)
            drift = merge_drift(stack.find_drift(*exclude(skipped)), lines, resources)
        except OperationError as error:
            if is_required:
                raise
            say(str(error))
    for line in format_drift(context.stack, drift):
        say(line)
    return [str(each) for each in drift]


def get_refresh_options(context: StackContext, *, has_drifted: bool) -> list[str]:
    """Return the engine's arguments that let an update restore what has changed.

    Without providers, the resources' own diff compares them with what exists.
    """
    providers = get_platform(context.spec.platform).providers
    return ["--refresh"] if has_drifted and providers else []


def find_drift(context: StackContext) -> list[str]:
    """Return what differs from the stack's last update, as far as the platform can tell quickly."""
    return get_platform(context.spec.platform).find_drift(context, read_stack_resources(context))


def read_stack_resources(context: StackContext) -> list[dict[str, Any]]:
    """Return the resources in the stack's state, without the engine if possible."""
    from berth.operations.state_file import read_resources

    resources = read_resources(context.root, context.stack)
    if resources is None:
        resources = open_stack(context.root, context.stack).resources()
    return resources


def run_update(
    stack: "Stack", context: StackContext, run: Callable[[bool], int], *, has_drifted: bool
) -> int:
    """Run an update and return the engine's exit code.

    If objects had drifted and the update fails, it restores them and runs the update again. What
    somebody added to an object can prevent that its pods become ready. The engine does not remove
    it, and so waits in vain.

    Args:
        run: Runs the update. Its argument is whether it runs again, after the user's confirmation.
    """
    # A user who does not confirm the update leaves no entry in the history.
    updates = len(stack.history()) if has_drifted else 0
    code = run(False)
    if code and has_drifted:
        try:
            if len(stack.history()) > updates and _finish_update(context):
                return run(True)
        except (SpecError, OperationError) as error:
            say(str(error))
    return code


def _finish_update(context: StackContext) -> bool:
    platform = get_platform(context.spec.platform)
    lines = platform.finish_update(context, read_stack_resources(context))
    for line in lines:
        say(line)
    return bool(lines)


def require_serving(
    stack: "Stack",
    context: StackContext,
    outputs: dict[str, Any],
    skipped: Sequence[SkippedPart] = (),
) -> None:
    """Finish the update. Exit with status 1 if the gateway or a berth does not become ready.

    Args:
        skipped: Parts whose berths are not checked.
    """
    from berth.operations.serving_check import find_unready

    platform = get_platform(context.spec.platform)
    _finish_update(context)
    unready = find_unready(
        lambda: platform.observe(context, outputs),
        seconds=context.spec.kubernetes.ready_timeout_seconds,
        skips_unreachable=bool(skipped),
    )
    if unready:
        exit_not_serving(stack, context, unready)


def report_failed(
    stack: "Stack",
    context: StackContext,
    problems: Sequence[str],
    skipped: Sequence[SkippedPart],
) -> None:
    """Report models that do not answer. Exit with status 1, unless a skipped part explains it.

    `exit_if_skipped` ends a command that skipped a part, and its update counts as successful.
    """
    if problems and not skipped:
        exit_not_serving(stack, context, problems)
    for problem in problems:
        say(problem)


def exit_not_serving(stack: "Stack", context: StackContext, problems: Sequence[str]) -> None:
    """Record that the stack's latest update is not ready, report why, and exit with status 1."""
    latest = stack.latest_update()
    stack.mark_unready(latest.number)
    for problem in problems:
        say(problem)
    explain_failure(context)
    say(
        f"Update {latest.number} of stack '{context.stack}' is complete, but not everything "
        "serves. 'berth rollback' returns to the update before it."
    )
    sys.exit(1)


def explain_failure(context: StackContext) -> None:
    """Report the reasons of a failed update. To find none must not hide the update's error."""
    try:
        for line in get_platform(context.spec.platform).explain_failure(context):
            say(line)
    except (SpecError, OperationError) as error:
        say(f"Could not find out more: {error}")
