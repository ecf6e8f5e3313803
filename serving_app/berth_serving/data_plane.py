"""The data plane: runs one model version for every transport."""

from collections.abc import Mapping

import onnxruntime

from berth_protocol.messages import ModelMetadata, ServerMetadata
from berth_serving import __version__
from berth_serving.metrics import Metrics
from berth_serving.model import Model, ModelError, count_elements, count_rows
from berth_serving.scheduler import Scheduler
from berth_serving.settings import Settings
from berth_serving.tensors import Array

SERVER_NAME = "berth"
EXTENSIONS = ["binary_tensor_data"]


class DataPlane:
    """A warm model and the scheduler of its runs. Belongs to one event loop.

    Args:
        example: Valid inputs, which warm up the model.

    Attributes:
        model: The model version.
        run_seconds: Duration of a warm run of the example.
        is_ready: Whether new requests are welcome. False once the shutdown has begun.
        request_count: Number of inference requests so far.

    Raises:
        ModelError: If the model cannot run the example, or cannot batch requests but should.
    """

    def __init__(
        self, model: Model, settings: Settings, metrics: Metrics, example: Mapping[str, Array]
    ) -> None:
        self.model = model
        labels = (model.card.name, model.card.version)
        self._batch = metrics.batch.labels(*labels)
        self._inference = metrics.inference.labels(*labels)
        arrays = model.run(example, tuple(model.outputs))
        if settings.batch_size > 1:
            _check_batches(model, count_rows(example), arrays)
        self.run_seconds = model.time_run(example)
        self._scheduler = Scheduler(
            model,
            threads=settings.threads,
            queue=settings.queue,
            batch_size=settings.batch_size,
            deadline_seconds=settings.deadline_seconds,
            loop_seconds=settings.loop_threshold_ms / 1000,
            seconds_per_element=self.run_seconds / count_elements(example),
            observe_run=self._observe_run,
            observe_queue=metrics.queue.labels(*labels).set,
        )
        metrics.info.labels(
            *labels,
            model.digest,
            __version__,
            onnxruntime.__version__,
            model.providers[0],
        ).set(1)
        self.is_ready = True
        self.request_count = 0

    def server_metadata(self) -> ServerMetadata:
        """Return name, version and extensions of this server."""
        return ServerMetadata(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)

    def model_metadata(self) -> ModelMetadata:
        """Return the model's inputs and outputs."""
        card = self.model.card
        return ModelMetadata(
            name=card.name,
            versions=[card.version],
            platform=card.platform,
            inputs=[spec.metadata() for spec in self.model.inputs.values()],
            outputs=[spec.metadata() for spec in self.model.outputs.values()],
        )

    async def infer(self, feeds: dict[str, Array], outputs: tuple[str, ...]) -> list[Array]:
        """Return the requested outputs for valid inputs.

        Raises:
            RequestError: If the model cannot run these values, or the berth is overloaded.
        """
        self.request_count += 1
        if self._scheduler.is_short(feeds):
            return self._scheduler.run_in_loop(feeds, outputs)
        return await self._scheduler.run_in_thread(feeds, outputs)

    def cancel_requests(self) -> None:
        """Reject every unfinished request, because the grace period is over."""
        self._scheduler.cancel_all()

    def close(self) -> bool:
        """Start no more runs. Return whether no run is in progress."""
        return self._scheduler.close()

    def _observe_run(self, rows: int, seconds: float) -> None:
        self._batch.observe(rows)
        self._inference.observe(seconds)


def _check_batches(model: Model, rows: int, arrays: list[Array]) -> None:
    """Reject a model that does not return one row per input row."""
    if not model.is_batchable or any(array.shape[0] != rows for array in arrays):
        raise ModelError(
            "BERTH_BATCH_SIZE must be 1 for this model: not every input and output has one row per"
            " row of the request."
        )
