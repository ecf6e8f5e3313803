"""One worker: a warm model behind a listening socket, until it is asked to end."""

import asyncio
import logging
import os
import signal
import socket

import numpy as np
import onnxruntime
import uvloop

from berth_protocol.http_server import listen, server_config
from berth_protocol.json_logs import log_event
from berth_serving import __version__
from berth_serving.app import App
from berth_serving.data_plane import DataPlane
from berth_serving.drain import DrainingServer
from berth_serving.metrics import Metrics
from berth_serving.settings import Settings
from berth_serving.tracing import tracer

_LOG = logging.getLogger("berth")


def serve(settings: Settings, listener: socket.socket, metrics_folder: str | None) -> None:
    """Load the model, then listen on `listener`, which is bound; return when drained.

    Raises:
        ModelError: the model cannot be served; nothing was ever listening.
    """
    # A number beyond its type is a client's mistake: told as an error, not warned of. Set once,
    # since entering and leaving such a mode costs as much as the conversion itself.
    np.seterr(over="raise")
    metrics = Metrics(metrics_folder)
    plane = DataPlane(settings, metrics)
    card = plane.model.card
    app = App(settings, plane, metrics, tracer(os.environ, card))
    listen(listener)
    log_event(
        _LOG,
        logging.INFO,
        f"serving {card.name} {card.version} on {settings.host}:{settings.port}",
        model=card.name,
        version=card.version,
        digest=plane.model.digest,
        run_milliseconds=round(plane.run_seconds * 1000, 4),
        providers=plane.model.providers,
        onnxruntime=onnxruntime.__version__,
        berth=__version__,
    )
    config = server_config(app, request_seconds=settings.deadline_seconds, date_header=False)
    server = DrainingServer(config, plane, settings.grace_seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(server, listener))
    finished = plane.close()
    _LOG.info("drained %s %s", card.name, card.version)
    if not finished:
        # A single operation inside a run cannot be interrupted, and Python would wait for it.
        os._exit(0)


async def _serve(server: DrainingServer, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.start_draining)
    await server.serve(sockets=[listener])
