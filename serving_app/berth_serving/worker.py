"""One worker: a warm model behind a listening socket, until it is asked to end."""

import asyncio
import logging
import os
import socket
from functools import partial

import numpy as np
import onnxruntime
import uvicorn
import uvloop

from berth_serving import __version__, logs
from berth_serving.app import App
from berth_serving.data_plane import DataPlane
from berth_serving.drain import DrainingServer
from berth_serving.http1 import Http1
from berth_serving.metrics import Metrics
from berth_serving.settings import Settings
from berth_serving.tracing import tracer

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


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
    listener.listen(_BACKLOG)
    logs.log(
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
    server = DrainingServer(
        uvicorn.Config(
            app,
            http=partial(Http1, request_seconds=settings.deadline_seconds),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        ),
        plane,
        settings.grace_seconds,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))
    finished = plane.close()
    logs.log(logging.INFO, f"drained {card.name} {card.version}")
    if not finished:
        # A single operation inside a run cannot be interrupted, and Python would wait for it.
        os._exit(0)
