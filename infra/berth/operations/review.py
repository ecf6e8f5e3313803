"""`berth preview --markdown` and `--json`: collects everything that a report states.

The preview of the update shows what changes. A second preview, of the configuration that is
deployed now, shows what a rollback to it would not restore: differences that follow from the
program, from files or from clients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.cost_changes import CostReport, compare_costs, estimate_file
from berth.operations.history import Change, compare_configurations
from berth.operations.prediction_runs import compare_versions
from berth.operations.preview_events import summarize_events
from berth.operations.report import Report
from berth.operations.resource_changes import ResourceChange, read_changes
from berth.operations.rollback import write_config_of
from berth.operations.rollback_keys import describe_kept_keys
from berth.operations.rollback_signatures import choose_requirement, describe_requirement
from berth.operations.stack import Stack
from berth.operations.traffic_changes import compare_traffic
from berth.operations.undo import UndoFacts, judge_all
from berth.operations.update import Update
from berth.platforms import get_platform
from berth.platforms.cost_line import CostLine
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec, SpecError, load_file

CheckFile = Callable[[Path], object]


def find_deployed(history: Sequence[Update]) -> Update | None:
    """Return the update whose configuration is deployed: the latest successful one.

    None if no update has succeeded since the stack was last destroyed.
    """
    for update in reversed(history):
        if update.kind == "destroy" and update.succeeded:
            return None
        if update.kind == "update" and update.succeeded:
            return update
    return None


def review(
    stack: Stack,
    context: StackContext,
    *,
    arguments: Sequence[str],
    options: Sequence[str] = (),
    drift: Sequence[str],
    check: CheckFile,
    rows: Mapping[str, Path],
) -> tuple[int, Report]:
    """Preview the update, and return the engine's exit code and the report.

    Args:
        arguments: Arguments of the engine for each preview.
        options: Arguments of the engine only for the preview of the update.
        drift: What differs from the last update, one line each.
        check: Raises if a rollback to the configuration file in its argument would be refused.
        rows: Model -> file with rows for the comparison of its versions.
    """
    code, lines = stack.preview_events(*arguments, *options)
    changes = tuple(read_changes(lines))
    deployed = find_deployed(stack.history(show_secrets=True))
    before = _review_deployed(stack, context, deployed, changes, arguments, check)
    return code, Report(
        stack=context.stack,
        summary=summarize_events(lines),
        changes=changes,
        verdicts=judge_all(changes, before.facts),
        facts=before.facts,
        configuration=before.configuration,
        traffic=tuple(compare_traffic(before.spec, context.spec)),
        drift=tuple(drift),
        predictions=tuple(compare_versions(context.root, before.spec, context.spec, rows)),
        cost=_compare_costs(context, before),
    )


@dataclass(frozen=True, kw_only=True)
class _Deployed:
    """What is deployed before the update.

    Attributes:
        cost: The lines of its estimate, or why there are none.
    """

    facts: UndoFacts
    spec: HostingSpec | None = None
    configuration: tuple[Change, ...] = ()
    cost: Sequence[CostLine] | str = ()


def _review_deployed(
    stack: Stack,
    context: StackContext,
    deployed: Update | None,
    changes: Sequence[ResourceChange],
    arguments: Sequence[str],
    check: CheckFile,
) -> _Deployed:
    platform = get_platform(context.spec.platform)
    tables: dict[str, Any] = {"kept_data": platform.kept_data, "one_way": platform.one_way}
    if deployed is None:
        return _Deployed(facts=UndoFacts(release=None, **tables))
    current, secret_keys = stack.read_config()
    signatures = choose_requirement(current, deployed, deployed)
    configuration = compare_configurations(deployed.config, current, secret_keys | deployed.secrets)
    spec: HostingSpec | None = None
    cost: Sequence[CostLine] | str = ()
    remaining: Sequence[ResourceChange] = changes
    obstacles: Sequence[str] = ()
    try:
        with write_config_of(stack, deployed, current, signatures) as file:
            spec = load_file(file)
            cost = _estimate(file)
            check(file)
            if configuration and changes:
                remaining = _preview_deployed(stack, [*arguments, "--config-file", str(file)])
    except SpecError as error:
        obstacles = error.problems
    except OperationError as error:
        obstacles = [str(error)]
    facts = UndoFacts(
        release=deployed.number,
        obstacles=tuple(obstacles),
        remaining={
            change.urn: tuple(path for path in change.properties if path not in change.unknown)
            for change in remaining
        },
        following={change.urn: change.unknown for change in remaining if change.unknown},
        kept_clients=tuple(describe_kept_keys(current, deployed)[1:]),
        kept_signatures=tuple(describe_requirement(signatures, deployed)),
        missing=_find_missing(stack, spec, changes),
        **tables,
    )
    return _Deployed(facts=facts, spec=spec, configuration=tuple(configuration), cost=cost)


def _find_missing(
    stack: Stack, spec: HostingSpec | None, changes: Sequence[ResourceChange]
) -> Mapping[str, str]:
    """Return what a rollback needs and what the registry no longer has, by URN."""
    if spec is None or "images" not in get_platform(spec.platform).sections or not changes:
        return {}
    from berth.operations.missing_images import find_missing_images, has_image

    return find_missing_images(
        changes, stack.resources(), partial(has_image, plain_http=spec.registry.plain_http)
    )


def _preview_deployed(stack: Stack, arguments: Sequence[str]) -> list[ResourceChange]:
    """Return what would change if the deployed configuration were deployed again.

    Raises:
        OperationError: If the engine cannot preview it.
    """
    code, lines = replace(stack, policy_pack=None).preview_events(*arguments)
    if code:
        errors = "; ".join(summarize_events(lines)["errors"])
        raise OperationError(errors or "the engine cannot preview it")
    return read_changes(lines)


def _estimate(file: Path) -> Sequence[CostLine] | str:
    try:
        return estimate_file(file) or ()
    except (OperationError, SpecError) as error:
        return str(error)


def _compare_costs(context: StackContext, before: _Deployed) -> CostReport | None:
    if get_platform(context.spec.platform).estimate_cost is None:
        return None
    after = _estimate(context.root / f"Pulumi.{context.stack}.yaml")
    problems = [lines for lines in (before.cost, after) if isinstance(lines, str)]
    if isinstance(before.cost, str) or isinstance(after, str):
        return CostReport(
            before=None if isinstance(before.cost, str) else sum(x.usd for x in before.cost),
            after=None if isinstance(after, str) else sum(x.usd for x in after),
            problem="; ".join(dict.fromkeys(problems)),
        )
    return compare_costs(before.cost, after)
