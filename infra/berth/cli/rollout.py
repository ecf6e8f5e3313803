"""`berth rollout`."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.options import get_command, json_option, require_yes, say, show, stack_option
from berth.cli.options import yes_option as _yes_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.operations.rollout.journal import Journal
    from berth.operations.rollout.plan import Plan

_INTERRUPTED = 130


@click.command()
@click.argument("model")
@click.argument("version")
@stack_option
@click.option(
    "--steps",
    default="shadow,5,25,50,100",
    show_default=True,
    help="Percentages of the traffic. In the step 'shadow', the version receives duplicates.",
)
@click.option(
    "--bake",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Shortest duration of a step, in seconds.",
)
@click.option(
    "--step-timeout",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    help="Longest duration of a step, in seconds. Without a decision until then, revert.",
)
@click.option(
    "--max-failed",
    default="1%",
    show_default=True,
    help="Share of failed requests from which to revert, or 'off'.",
)
@click.option(
    "--max-slow",
    default="5%",
    show_default=True,
    help="Share of slow requests from which to revert, or 'off'.",
)
@click.option(
    "--slow-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Duration from which a request is slow. Derived from the old version by default.",
)
@click.option(
    "--max-different",
    default="20%",
    show_default=True,
    help="Share of other answers than the old version's from which to revert, or 'off'.",
)
@click.option(
    "--prometheus",
    nargs=2,
    multiple=True,
    metavar="QUERY CONDITION",
    help="Revert if the value of a query at BERTH_PROMETHEUS_URL does not satisfy a condition, "
    "such as '< 5'.",
)
@click.option(
    "--cloudwatch",
    nargs=2,
    multiple=True,
    metavar="METRIC CONDITION",
    help="The same for a metric, such as 'AWS/ApiGateway Latency p99 ApiName=prod' '< 500'.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted rollout.")
@click.option("--abort", is_flag=True, help="End an interrupted rollout: revert.")
@_yes_option
@json_option
def rollout(
    model: str,
    version: str,
    name: str,
    resume: bool,
    abort: bool,
    yes: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Move traffic to a version step by step. Revert if it fails, is slow or answers differently.

    Exit with status 1 if the rollout was reverted.
    """
    require_yes(yes, as_json)
    from berth.cli.rollout_target import RolloutTarget
    from berth.errors import OperationError
    from berth.operations.rollout.controller import Controller, describe_step
    from berth.operations.rollout.journal import Phase, hold, journal_path
    from berth.operations.rollout.query_sources import open_sources
    from berth.operations.rollout.report import write_report

    root = find_project()
    path = journal_path(root, name, model)
    with hold(path):
        if resume or abort:
            journal = _continue(path, version, command=f"{get_command()} rollout")
        else:
            journal = _start(root, name, path, model, version, settings)
        plan = journal.plan
        steps = " → ".join("shadow" if not step else f"{step} %" for step in plan.steps)
        say(f"Rollout of {model} from version {plan.stable} to version {version}: {steps}")
        if not yes and not click.confirm("Perform this rollout?", err=True):
            raise click.Abort
        target = RolloutTarget(root, name, plan, as_json=as_json)
        is_deployed = target.is_deployed()
        if not is_deployed and not abort:
            raise OperationError(
                f"Stack '{name}' is not deployed. Run 'berth up -s {name}' first. '--abort' ends "
                "an interrupted rollout."
            )
        target.require_own_traffic()
        read_query = open_sources()
        controller = Controller(journal, target, report=say, show=_show_line, read_query=read_query)
        journal.save()
        try:
            if not abort:
                phase = controller.run()
            elif journal.phase is Phase.STARTING:
                phase = controller.cancel("aborted")
            elif is_deployed:
                phase = controller.revert("aborted")
            else:
                target.write_traffic({plan.stable: 100, plan.version: 0}, None)
                phase = controller.end_without_stack()
        except KeyboardInterrupt:
            if journal.phase is Phase.STARTING:
                controller.cancel("interrupted")
                sys.exit(_INTERRUPTED)
            say(
                f"Interrupted: {describe_step(plan, plan.steps[journal.step])}. Continue with "
                f"'{_format_command(name, plan)} --resume', or revert with '--abort'."
            )
            sys.exit(_INTERRUPTED)
        finally:
            report = write_report(journal)
    show(
        {
            "model": model,
            "version": version,
            "stable": plan.stable,
            "result": str(phase),
            "reason": journal.reason,
            "events": journal.events,
            "report": str(report),
        },
        as_json,
        lambda: f"Report: {report}. Commit Pulumi.{name}.yaml, which has the new traffic.",
    )
    sys.exit(0 if phase is Phase.PROMOTED else 1)


def _format_command(name: str, plan: "Plan") -> str:
    from berth.operations.rollout.status import format_command

    return format_command(name, plan.model, plan.version, program=get_command())


def _show_line(text: str) -> None:
    """Show the current state in place on a terminal. A log gets only the events."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{text}\r", err=True, nl=False)


def _start(
    root: Path, name: str, path: Path, model: str, version: str, settings: Mapping[str, Any]
) -> "Journal":
    """Return the journal of a new rollout, after checking that it is possible."""
    from berth.cli.stacks import load_spec
    from berth.errors import OperationError
    from berth.operations.rollout.journal import Journal, read_journal
    from berth.operations.rollout.plan import (
        Plan,
        find_stable,
        parse_limit,
        parse_steps,
        skip_steps,
    )
    from berth.operations.rollout.query import parse_queries

    latest = read_journal(path)
    if latest is not None and latest.phase.is_in_progress:
        raise OperationError(
            f"The rollout of {model} to version {latest.plan.version} is not complete. Continue it "
            f"with '{_format_command(name, latest.plan)} --resume', or revert it with '--abort'."
        )
    spec = load_spec(root, name)
    steps = parse_steps(settings["steps"])
    stable = find_stable(spec, model, version, steps)
    initial = spec.models[model].traffic.get(version, 0)
    limits = {
        kind: parse_limit(f"--max-{kind}", settings[f"max_{kind}"])
        for kind in ("failed", "slow", "different")
    }
    plan = Plan(
        model=model,
        version=version,
        stable=stable,
        steps=skip_steps(steps, initial),
        bake_seconds=settings["bake"],
        step_seconds=max(settings["step_timeout"], settings["bake"]),
        limits={kind: limit for kind, limit in limits.items() if limit is not None},
        slow_seconds=settings["slow_seconds"],
        initial=initial,
        queries=(
            *parse_queries("prometheus", settings["prometheus"]),
            *parse_queries("cloudwatch", settings["cloudwatch"]),
        ),
    )
    return Journal(path=path, plan=plan, since=time.time())


def _continue(path: Path, version: str, *, command: str) -> "Journal":
    """Return the journal of a rollout that was interrupted."""
    from berth.errors import OperationError
    from berth.operations.rollout.journal import read_journal

    journal = read_journal(path)
    if journal is None or journal.phase.has_ended:
        ended = f"; the latest one was {journal.phase}" if journal is not None else ""
        raise OperationError(
            f"No rollout to version {version} is in progress{ended}. Start one with '{command}'."
        )
    if journal.plan.version != version:
        raise OperationError(
            f"The rollout that was interrupted is to version {journal.plan.version}, not to "
            f"version {version}. Name that version."
        )
    return journal
