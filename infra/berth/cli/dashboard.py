"""`berth dashboard`."""

import signal
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import click

from berth.cli.options import say, stack_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.operations.watch.snapshot import Snapshot
    from berth.operations.watch.watcher import Watcher

# The plots show a quarter of an hour with the default interval.
_KEPT_SNAPSHOTS = 450


@click.command()
@stack_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8700,
    show_default=True,
    help="Port on 127.0.0.1. 0 chooses a free one.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5, max=3600),
    default=2.0,
    show_default=True,
    help="Seconds between two readings of the stack.",
)
def dashboard(name: str, port: int, interval: float) -> None:
    """Show the stack in a local web page, read-only, until Ctrl-C.

    The page needs no network. Only browsers on this machine can open it.
    """
    root = find_project()
    from berth.cli.watched_stack import WatchedStack
    from berth.operations.watch.server import ADDRESS, build_app, create_server
    from berth.operations.watch.watcher import Watcher

    bound = _bind(port)
    own_port = bound.getsockname()[1]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        watcher = Watcher(name, WatchedStack(root=root, name=name))
        snapshots = deque([watcher.read()], maxlen=_KEPT_SNAPSHOTS)
        reader = threading.Thread(target=_read, args=(watcher, snapshots, interval), daemon=True)
        reader.start()
        click.echo(f"http://{ADDRESS}:{own_port}/")
        say(f"Dashboard of stack '{name}'. Stop it with Ctrl-C.")
        create_server(build_app(lambda: tuple(snapshots), own_port)).run(sockets=[bound])
    except KeyboardInterrupt:
        return
    finally:
        bound.close()


def _bind(port: int) -> socket.socket:
    from berth.errors import OperationError
    from berth.operations.watch.server import ADDRESS
    from berth_protocol.http_server import bind

    try:
        bound = bind(ADDRESS, port)
        # A browser can open the address as soon as it is printed, before the server reads from it.
        bound.listen()
        return bound
    except OSError as error:
        raise OperationError(
            f"Cannot listen on {ADDRESS}:{port}: {error.strerror}. Choose another port with --port."
        ) from error


def _read(watcher: "Watcher", snapshots: "deque[Snapshot]", interval: float) -> None:
    """Read snapshots until the process ends."""
    from berth.operations.watch.background import describe_error
    from berth.operations.watch.snapshot import Snapshot

    pause = threading.Event()
    while not pause.wait(interval):
        try:
            snapshots.append(watcher.read())
        except Exception as error:  # Without a new snapshot, the page would show the last forever.
            problem = f"snapshot: {describe_error(error)}"
            stack = snapshots[-1].stack
            snapshots.append(Snapshot(stack=stack, at=time.time(), problems=(problem,)))


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
