"""The data plane: runs one model version for every transport."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import onnxruntime

from berth_protocol.errors import RequestError
from berth_protocol.messages import ModelMetadata, ServerMetadata
from berth_protocol.row_independence import TOLERANCE, explain_row_dependence
from berth_serving import __version__
from berth_serving.batching import explain_slow_batches
from berth_serving.capture import Capture
from berth_serving.data_drift.exported import ExportedMonitor
from berth_serving.memory import limit_growth, read_resident_bytes, return_memory
from berth_serving.memory_estimate import learn_memory
from berth_serving.metrics import Metrics
from berth_serving.model import Model, count_elements
from berth_serving.processing import ProcessingError
from berth_serving.run_failure import GpuFailureError, ModelRejectedError
from berth_serving.run_memory import MemoryLimits
from berth_serving.scheduler import Scheduler
from berth_serving.settings import BODY_MEMORY_SHARE, Settings
from berth_serving.tensors import Array

_LOG = logging.getLogger("berth")
_T = TypeVar("_T")
# TF32 has three decimal digits, and a GPU selects other kernels for other numbers of rows.
_GPU_TOLERANCE = 1e-2

# Share of the process's memory for Python, the HTTP server and the unevenness of the heap.
_MARGIN_SHARE = 16
_MIN_GROWTH_BYTES = 64 << 20

SERVER_NAME = "berth"
EXTENSIONS = ["binary_tensor_data"]


class DataPlane:
    """A warm model and the scheduler of its runs. Belongs to one event loop.

    Args:
        example: Valid inputs, which warm up the model.

    Attributes:
        model: The model version.
        capture: Captured requests, or None.
        run_seconds: Duration of a warm run of the example.
        response_bytes: Bytes that the conversion of one response may take.
        gpu_failure: Why the GPU can no longer run the model, or None.
        is_ready: Whether new requests are welcome. False once the shutdown has begun.
        request_count: Number of inference requests so far.

    Raises:
        RequestError: If the model cannot run the example.
    """

    def __init__(
        self, model: Model, settings: Settings, metrics: Metrics, example: Mapping[str, Array]
    ) -> None:
        self.model = model
        self.gpu_failure: str | None = None
        self._example = example
        labels = (model.card.name, model.card.version)
        self._batch = metrics.batch.labels(*labels)
        self._inference = metrics.inference.labels(*labels)
        model.run(example, tuple(model.outputs))
        batch_size = _choose_batch_size(model, settings.batch_size, example)
        self.run_seconds = model.time_run(example)
        limits = _learn_memory_limits(model, settings, example)
        self._scheduler = Scheduler(
            model,
            threads=settings.threads,
            queue=settings.queue,
            batch_size=batch_size,
            deadline_seconds=settings.deadline_seconds,
            # The time of the version's own code is not known before it runs.
            loop_seconds=0 if model.has_processing else settings.loop_threshold_ms / 1000,
            seconds_per_element=self.run_seconds / count_elements(example),
            memory=limits,
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
        self.response_bytes = sys.maxsize if limits is None else limits.run_bytes
        self._drift = (
            ExportedMonitor(model.statistics, settings, metrics, labels)
            if model.statistics is not None and settings.data_drift
            else None
        )
        self.capture = Capture(settings, model) if settings.capture_percent else None
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

    async def infer(
        self,
        feeds: dict[str, Array],
        outputs: tuple[str, ...],
        respond: Callable[[list[Array]], Awaitable[_T]],
    ) -> _T:
        """Return what `respond` makes of the requested outputs for valid inputs.

        Raises:
            RequestError: If the model cannot run these values, the GPU failed, or the berth is
                overloaded.
        """
        self.request_count += 1

        async def observe_and_respond(arrays: list[Array]) -> _T:
            self._observe_values(feeds, outputs, arrays)
            return await respond(arrays)

        try:
            if self._scheduler.is_short(feeds):
                return await observe_and_respond(self._scheduler.run_in_loop(feeds, outputs))
            return await self._scheduler.run_in_thread(feeds, outputs, observe_and_respond)
        except GpuFailureError as error:
            if self.gpu_failure is None and await asyncio.to_thread(self._can_run_example):
                raise ModelRejectedError(error.failure, feeds) from error
            self.gpu_failure = error.failure
            self.is_ready = False
            raise

    def _can_run_example(self) -> bool:
        """Return whether the GPU still works. If not, the failure was not due to a request."""
        try:
            self.model.run(self._example, tuple(self.model.outputs))
        except (RequestError, ProcessingError):
            return False
        return True

    def _observe_values(
        self, feeds: dict[str, Array], outputs: tuple[str, ...], arrays: list[Array]
    ) -> None:
        if self._drift is not None:
            self._drift.observe(feeds, dict(zip(outputs, arrays, strict=True)))
        if self.capture is not None:
            self.capture.observe(feeds, dict(zip(outputs, arrays, strict=True)))

    def hold_response(self, size: int) -> None:
        """Count the bytes of a response until `release_response`."""
        self._scheduler.hold_response(size)

    def release_response(self, size: int) -> None:
        """Stop counting a response that its client has taken."""
        self._scheduler.release_response(size)

    def return_memory_later(self) -> None:
        """Return freed memory to the operating system when the current requests are complete."""
        self._scheduler.return_memory_later()

    def cancel_requests(self) -> None:
        """Reject every unfinished request, because the grace period is over."""
        self._scheduler.cancel_all()

    def close(self) -> bool:
        """Start no more runs. Return whether no run is in progress."""
        return self._scheduler.close()

    def _observe_run(self, rows: int, seconds: float) -> None:
        self._batch.observe(rows)
        self._inference.observe(seconds)


def _learn_memory_limits(
    model: Model, settings: Settings, example: Mapping[str, Array]
) -> MemoryLimits | None:
    """Return the limits for requests, from the memory that the process and a run take.

    Without a limit for the process, or where the system does not report memory, return None.
    """
    if settings.memory_bytes is None:
        return None
    limit = settings.memory_bytes // settings.workers
    # A run that takes far too much must end in an error while it is measured, too.
    return_memory()
    resident = read_resident_bytes()
    if resident is None:
        return None
    limit_growth(max(_MIN_GROWTH_BYTES, limit - resident))
    estimate = learn_memory(model, example, settings.max_batch)
    return_memory()
    resident = read_resident_bytes() or resident
    if estimate is None:
        return None
    bodies = min(settings.body_memory_bytes, limit // BODY_MEMORY_SHARE)
    run_bytes = limit - resident - bodies - limit // _MARGIN_SHARE
    if run_bytes < _MIN_GROWTH_BYTES // 4:
        _LOG.warning(
            "The loaded model takes %d MiB of %d MiB of memory, which leaves little for requests."
            " Raise resources.memory.",
            resident >> 20,
            limit >> 20,
        )
        run_bytes = _MIN_GROWTH_BYTES // 4
    limit_growth(max(_MIN_GROWTH_BYTES, limit - resident))
    _LOG.debug("Memory of a run: %s; %d MiB for all requests", estimate, run_bytes >> 20)
    return MemoryLimits(run_bytes, bodies, estimate.estimate)


def _choose_batch_size(model: Model, batch_size: int, example: Mapping[str, Array]) -> int:
    """Return `batch_size`, or 1 if requests must not share a run. The reason is logged.

    A response that depends on other clients' requests is wrong. On a GPU, batches can be slower.
    """
    if batch_size == 1:
        return 1
    reason = ""
    if model.card.has_rows is False:
        reason = model.card.no_rows_reason or "the model card says that the model has no rows"
    if model.card.has_rows is not False:
        outputs = tuple(model.outputs)
        reason = explain_row_dependence(
            lambda feeds: dict(zip(outputs, model.run(feeds, outputs), strict=True)),
            {name: example[name] for name in model.required_inputs},
            {name: model.inputs[name].shape for name in model.required_inputs},
            {name: spec.shape for name, spec in model.outputs.items()},
            tolerance=_GPU_TOLERANCE if model.uses_gpu else TOLERANCE,
            trust_sizes=model.card.has_rows is True,
        )
    reason = f"rows that share a run would be mixed: {reason}" if reason else ""
    if not reason and model.uses_gpu:
        reason = explain_slow_batches(
            lambda feeds: model.run(feeds, tuple(model.outputs)),
            {name: example[name][:1] for name in model.required_inputs},
            batch_size,
        )
    if not reason:
        return batch_size
    _LOG.warning(
        "Batching is disabled, although BERTH_BATCH_SIZE is %d, because %s", batch_size, reason
    )
    return 1
