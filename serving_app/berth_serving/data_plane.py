"""The Open Inference Protocol for one model version, free of any transport."""

from typing import Any

import onnxruntime
import orjson

from berth_protocol.errors import RequestError
from berth_protocol.model_card import CardError
from berth_serving import __version__
from berth_serving.metrics import Metrics
from berth_serving.model import Model, ModelError, elements_of, load, rows_of
from berth_serving.request import InferenceRequest, read_request
from berth_serving.response import Headers, write_response
from berth_serving.schedule import Schedule
from berth_serving.settings import Settings
from berth_serving.tensors import Array

SERVER_NAME = "berth"
EXTENSIONS = ["binary_tensor_data"]


class DataPlane:
    """A warm model and what it is asked. Made in the event loop that asks it.

    Attributes:
        ready: whether requests are welcome; False once the end has begun.
        asked: inference requests so far.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Load, check and warm up.

        Raises:
            ModelError: the model cannot be served as it is.
        """
        self.model = load(settings)
        self._settings = settings
        names = (self.model.card.name, self.model.card.version)
        self._batch = metrics.batch.labels(*names)
        self._inference = metrics.inference.labels(*names)
        seconds, elements = _warm_up(self.model, settings)
        self.run_seconds = seconds
        self._schedule = Schedule(
            self.model,
            threads=settings.threads,
            queue=settings.queue,
            batch_size=settings.batch_size,
            deadline_seconds=settings.deadline_seconds,
            loop_seconds=settings.loop_threshold_ms / 1000,
            seconds_per_element=seconds / elements,
            observe_run=self._observe,
            observe_queue=metrics.queue.labels(*names).set,
        )
        metrics.info.labels(
            *names,
            self.model.digest,
            __version__,
            onnxruntime.__version__,
            self.model.providers[0],
        ).set(1)
        self.ready = True
        self.asked = 0

    def server_metadata(self) -> dict[str, Any]:
        return {"name": SERVER_NAME, "version": __version__, "extensions": EXTENSIONS}

    def model_metadata(self) -> dict[str, Any]:
        card = self.model.card
        return {
            "name": card.name,
            "versions": [card.version],
            "platform": card.platform,
            "inputs": [port.metadata() for port in self.model.inputs.values()],
            "outputs": [port.metadata() for port in self.model.outputs.values()],
        }

    async def infer(self, body: bytes, json_bytes: int | None) -> tuple[Headers, bytes]:
        """Headers and body of the answer to one inference request.

        Args:
            json_bytes: the length of the JSON header that the binary extension announces.

        Raises:
            RequestError: the request is wrong, or there is too much to do.
        """
        self.asked += 1
        request = read_request(body, json_bytes, self.model, self._settings.max_batch)
        names = tuple(request.outputs)
        if self._schedule.is_short(request.feeds):
            arrays = self._schedule.run_now(request.feeds, names)
        else:
            arrays = await self._schedule.run(request.feeds, names)
        return write_response(self.model, request, arrays)

    def give_up(self) -> None:
        """Refuse what is not answered yet: the time to finish it is over."""
        self._schedule.give_up()

    def close(self) -> bool:
        """Start nothing more; whether no run is under way."""
        return self._schedule.close()

    def _observe(self, rows: int, seconds: float) -> None:
        self._batch.observe(rows)
        self._inference.observe(seconds)


def _warm_up(model: Model, settings: Settings) -> tuple[float, int]:
    """Run the card's example; seconds of a warm run and elements of its inputs."""
    body = orjson.dumps(model.card.example)
    try:
        request = read_request(body, None, model, settings.max_batch)
        arrays = model.run(request.feeds, tuple(request.outputs))
        if settings.batch_size > 1:
            _check_batches(model, request, arrays)
        return model.time_run(request.feeds), elements_of(request.feeds)
    except (RequestError, CardError) as error:
        raise ModelError(f"the card's example is not answered: {error}") from error


def _check_batches(model: Model, request: InferenceRequest, arrays: list[Array]) -> None:
    """A model whose outputs do not have a row for each row cannot have requests joined."""
    rows = rows_of(request.feeds)
    if not model.batched or any(array.shape[0] != rows for array in arrays):
        raise ModelError(
            "batch_size must be 1: not every input and output of this model has a row for each row"
        )
