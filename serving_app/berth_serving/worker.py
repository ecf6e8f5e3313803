"""One worker: a warm model behind a listening socket, until SIGTERM."""

import asyncio
import logging
import os
import signal
import socket
import sys

import numpy as np
import onnxruntime
import uvloop

from berth_protocol.body_memory import BodyMemory
from berth_protocol.errors import RequestError
from berth_protocol.http_server import listen, server_config
from berth_protocol.json_logs import log_event
from berth_protocol.model_card import PROCESSING_FILE, CardError, example_body
from berth_serving import __version__
from berth_serving.data_plane import DataPlane
from berth_serving.http.app import App
from berth_serving.http.draining_server import DrainingServer
from berth_serving.http.request import read_request
from berth_serving.memory import configure_allocators
from berth_serving.metrics import Metrics
from berth_serving.model import Model, ModelError, load_model
from berth_serving.processing import ProcessingError
from berth_serving.run_failure import GpuFailureError
from berth_serving.server import EXIT_GPU_FAILED
from berth_serving.settings import Settings
from berth_serving.tensors import Array
from berth_serving.tracing import create_trace

_LOG = logging.getLogger("berth")


def serve(settings: Settings, listeners: list[socket.socket], metrics_dir: str | None) -> None:
    """Load the model, then serve on bound sockets until the shutdown is complete.

    If the GPU fails, the process exits with `EXIT_GPU_FAILED`.

    Raises:
        ModelError: If the model cannot be served. In that case, nothing has listened.
    """
    # Report a number that is out of range as an error instead of a warning. The mode is global,
    # because entering and leaving it takes as long as the conversion of a tensor.
    np.seterr(over="raise")
    configure_allocators()
    metrics = Metrics(metrics_dir)
    model = load_model(settings)
    plane = warm_up(model, settings, metrics)
    card = model.card
    body_memory = BodyMemory(settings.body_memory_bytes, settings.max_body_bytes)
    app = App(settings, plane, metrics, create_trace(os.environ, card), body_memory)
    for listener in listeners:
        listen(listener)
    log_event(
        _LOG,
        logging.INFO,
        f"Serving {card.name} {card.version} on {settings.host}:{settings.port}",
        model=card.name,
        version=card.version,
        digest=model.digest,
        run_milliseconds=round(plane.run_seconds * 1000, 4),
        providers=model.providers,
        onnxruntime=onnxruntime.__version__,
        berth=__version__,
    )
    config = server_config(
        app,
        body_memory=body_memory,
        on_trailer=metrics.dropped_trailers.labels(card.name, card.version).inc,
        request_seconds=settings.deadline_seconds,
        max_requests=settings.connection_requests,
        date_header=False,
    )
    server = DrainingServer(config, plane, settings.grace_seconds, settings.accept_seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_server(server, listeners))
    is_finished = plane.close()
    if plane.gpu_failure is not None:
        _LOG.error("The GPU failed: %s. The process ends and must be restarted.", plane.gpu_failure)
        # The usual end of the process would release the GPU's memory, which aborts it.
        os._exit(EXIT_GPU_FAILED)
    _LOG.info("Stopped serving %s %s", card.name, card.version)
    if not is_finished:
        # Python would wait for the thread, but one operator of a run cannot be interrupted.
        os._exit(0)


def warm_up(model: Model, settings: Settings, metrics: Metrics) -> DataPlane:
    """Return the data plane of a model that has run the example in its card.

    Raises:
        ModelError: If the model cannot run the example.
    """
    try:
        return DataPlane(model, settings, metrics, _read_example(model, settings))
    except CardError as error:
        raise ModelError(str(error)) from error
    except ProcessingError as error:
        _LOG.exception("The code of the model version failed on the example in its card")
        raise ModelError(
            f"{PROCESSING_FILE} failed on the example in the model card: {error}. Package the"
            " version again."
        ) from error
    except GpuFailureError as error:
        raise ModelError(
            f"The GPU failed while it ran the example in the model card: {error.failure}."
        ) from error
    except RequestError as error:
        raise ModelError(
            f"The model rejects the example in its card: {error} Package the version again."
        ) from error


def _read_example(model: Model, settings: Settings) -> dict[str, Array]:
    body, json_length = example_body(settings.model_dir, model.card)
    # `max_batch` limits clients. It may be smaller than the example.
    return read_request(body, json_length, model, sys.maxsize).feeds


async def _run_server(server: DrainingServer, listeners: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.start_draining)
    await server.serve(sockets=listeners)
