"""`berth watch`."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from berth.cli.options import stack_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.operations.watch.snapshot import Snapshot

# Another screen without a cursor, so that the terminal is as before afterwards.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_RESIZE_SECONDS = 0.2
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@stack_option
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5, max=3600),
    default=2.0,
    show_default=True,
    help="Seconds between two snapshots.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per snapshot.")
def watch(name: str, once: bool, interval: float, as_json: bool) -> None:
    """Show the stack in the terminal, and refresh the view until Ctrl-C.

    Shows berths, request rates, errors and latency, rollouts, drift and the last updates.
    """
    root = find_project()
    from berth.cli.watched_stack import WatchedStack
    from berth.operations.watch.watcher import Watcher

    watcher = Watcher(name, WatchedStack(root=root, name=name))
    is_screen = _has_screen() and not once and not as_json
    try:
        if once:
            # Rates need two readings.
            watcher.read()
            time.sleep(interval)
            _print(watcher.read(is_complete=True), as_json)
            return
        with _screen() if is_screen else _no_screen():
            while True:
                snapshot = watcher.read()
                if is_screen:
                    _draw(snapshot)
                    _wait_and_redraw(snapshot, interval)
                else:
                    _print(snapshot, as_json)
                    time.sleep(interval)
    except KeyboardInterrupt:
        # This is how a user ends the view.
        return


def _has_screen() -> bool:
    """Return whether the output is a terminal that understands escape sequences."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def _wait_and_redraw(snapshot: "Snapshot", seconds: float) -> None:
    """Wait until the next snapshot is due, and draw this one again if the terminal is resized."""
    deadline, size = time.monotonic() + seconds, shutil.get_terminal_size()
    while (rest := deadline - time.monotonic()) > 0:
        time.sleep(min(rest, _RESIZE_SECONDS))
        if shutil.get_terminal_size() != size:
            size = shutil.get_terminal_size()
            _draw(snapshot)


def _print(snapshot: "Snapshot", as_json: bool) -> None:
    from berth.operations.watch.snapshot import as_json as build_document
    from berth.operations.watch.terminal import format_snapshot

    if as_json:
        click.echo(json.dumps(build_document(snapshot)))
    else:
        click.echo("\n".join([*format_snapshot(snapshot), ""]))
    sys.stdout.flush()


def _draw(snapshot: "Snapshot") -> None:
    from berth.operations.watch.terminal import format_snapshot

    size = shutil.get_terminal_size()
    has_color = not os.environ.get("NO_COLOR")
    lines = format_snapshot(snapshot, width=size.columns, has_color=has_color)
    shown = lines[: size.lines - 1]
    if len(shown) < len(lines):
        shown[-1] = f"… {len(lines) - len(shown) + 1} more lines"
    sys.stdout.write(_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in shown) + _CLEAR_BELOW)
    sys.stdout.flush()


@contextmanager
def _screen() -> Iterator[None]:
    """Use another screen, and restore the terminal also if the process is told to end."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


@contextmanager
def _no_screen() -> Iterator[None]:
    yield


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
