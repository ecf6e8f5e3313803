"""One model version: verified files, an ONNX Runtime session, and its runs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from berth_protocol.errors import RequestError
from berth_protocol.messages import TensorMetadata
from berth_protocol.model_card import (
    MODEL_FILE,
    PROCESSING_FILE,
    CardError,
    ModelCard,
    Tensor,
    digest,
    read_card,
    verify_files,
)
from berth_protocol.operators import OperatorsError, find_libraries
from berth_protocol.training_statistics import (
    StatisticsError,
    TrainingStatistics,
    read_statistics,
)
from berth_serving.datatypes import BY_ONNX_TYPE, DATATYPES, Datatype
from berth_serving.execution_providers import (
    CPU,
    ProviderError,
    create_session,
    find_gpu_failure,
    is_out_of_memory,
)
from berth_serving.memory import use_shared_arena
from berth_serving.processing import Processing, ProcessingError, load_processing
from berth_serving.run_failure import GpuFailureError, ModelRejectedError
from berth_serving.settings import Settings
from berth_serving.tensors import Array

_TIMED_RUNS = 5
# ONNX Runtime's log lines are not JSON and can contain values of a request. Its errors are raised
# as exceptions anyway.
_LOG_FATAL = 4
onnxruntime.set_default_logger_severity(_LOG_FATAL)
_MAX_DIM = 2**31


class ModelError(RuntimeError):
    """A model that cannot be served."""


class MemoryExceededError(RequestError):
    """A run needs more memory than there is."""

    def __init__(self, *, uses_gpu: bool = False) -> None:
        if uses_gpu:
            owner, advice = "the berth or its GPU has", "in each request."
        else:
            owner, advice = "the berth has", "in each request, or raise resources.memory."
        super().__init__(
            413,
            f"The model needs more memory for this request than {owner}. Send fewer or shorter"
            f" rows {advice}",
        )


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: Name of the tensor.
        datatype: Its datatype.
        shape: A number for a fixed dimension; a name or None for a free one. Free dimensions with
            the same name can have different sizes, because exporters reuse names.
        optional: Whether a request can omit this input.
    """

    name: str
    datatype: Datatype
    shape: tuple[int | str | None, ...]
    optional: bool = False

    def accepts(self, shape: Sequence[int]) -> bool:
        """Return whether a tensor of `shape` has the right rank and fixed dimensions."""
        if len(shape) != len(self.shape):
            return False
        for dim, fixed in zip(shape, self.shape, strict=True):
            if dim != fixed and (type(fixed) is int or not 0 <= dim < _MAX_DIM):
                return False
        return True

    def metadata(self) -> TensorMetadata:
        """Return the tensor metadata in Open Inference Protocol form."""
        shape = [dim if isinstance(dim, int) else -1 for dim in self.shape]
        return TensorMetadata(name=self.name, datatype=self.datatype.name, shape=shape)


class Model:
    """A loaded model version.

    Args:
        processing: The functions that run before and after the model, if the version has any.
        statistics: Training statistics, if the version has any.

    Attributes:
        card: The model card.
        digest: Digest of the version.
        has_processing: Whether Python code of the version runs before or after the model.
        text_limits: Input name -> longest element in bytes of UTF-8. 0 for no limit.
        inputs: Input name -> its specification, in the model's order, required ones first.
        required_inputs: Names of the inputs that every request contains.
        outputs: Output name -> its specification, in the model's order.
        statistics: Training statistics, or None.
        row_inputs: Names of the inputs whose first dimension counts rows. Empty if the card says
            that the model has no rows.
    """

    def __init__(
        self,
        card: ModelCard,
        digest: str,
        session: onnxruntime.InferenceSession,
        processing: Processing | None = None,
        statistics: TrainingStatistics | None = None,
    ) -> None:
        self.card = card
        self.statistics = statistics
        self.digest = digest
        self._session = session
        self.text_limits = {tensor.name: tensor.max_bytes for tensor in card.inputs}
        optional = {tensor.name for tensor in card.inputs if tensor.optional}
        self._processing = processing
        self.has_processing = processing is not None
        defaults = session.get_overridable_initializers()
        if processing is None or processing.inputs is None:
            self.inputs = _match_tensors(
                [
                    *session.get_inputs(),
                    # The model file can list more of them: the card lists those that are served.
                    *(node for node in defaults if node.name in optional),
                ],
                card.inputs,
                "input",
            )
        else:
            self.inputs = _read_declared(processing.inputs, card.inputs, "inputs")
        self.required_inputs = [name for name in self.inputs if name not in optional]
        if processing is None or processing.outputs is None:
            self.outputs = _match_tensors(session.get_outputs(), card.outputs, "output")
        else:
            self.outputs = _read_declared(processing.outputs, card.outputs, "outputs")
        self._session_inputs = [] if processing is None else list(_read_inputs(session))
        self._session_outputs = [node.name for node in session.get_outputs()]
        self.row_inputs = [
            name
            for name in self.required_inputs
            if card.has_rows is not False and _is_first_dim_free(self.inputs[name])
        ]

    def count_rows(self, feeds: Mapping[str, Array]) -> int:
        """Return the number of rows of a request. Without rows, a request is one."""
        return len(feeds[self.row_inputs[0]]) if self.row_inputs else 1

    @property
    def providers(self) -> list[str]:
        """The execution providers that the session uses."""
        return list(self._session.get_providers())

    @property
    def uses_gpu(self) -> bool:
        """Whether most of the model does not run on the CPU."""
        return self.providers[0] != CPU

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], options: Any = None
    ) -> list[Array]:
        """Return the outputs for valid inputs. Several threads may call this at the same time.

        Args:
            options: A `RunOptions`. Setting its `terminate` from another thread ends the run.

        Raises:
            RequestError: If the model cannot run these values, the version's own code refuses them,
                or memory runs out.
            GpuFailureError: If the GPU failed, perhaps only for these values.
            ProcessingError: If the version's own code fails.
        """
        if self._processing is None:
            return self._run_session(feeds, outputs, options)
        try:
            prepared = self._processing.prepare(feeds, self._session_inputs)
            arrays = self._run_session(prepared, self._session_outputs, options)
            results = self._processing.finish(
                dict(zip(self._session_outputs, arrays, strict=True)), self.card.outputs
            )
        except MemoryError as error:
            raise MemoryExceededError from error
        return [results[name] for name in outputs]

    def _run_session(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], options: Any
    ) -> list[Array]:
        try:
            return list(self._session.run(list(outputs), dict(feeds), options))
        except (ort_errors.InvalidArgument, ort_errors.RuntimeException, ort_errors.Fail) as error:
            text = str(error)
            if is_out_of_memory(text):
                raise MemoryExceededError(uses_gpu=self.uses_gpu) from error
            failure = find_gpu_failure(text)
            if failure is not None:
                raise GpuFailureError(failure) from error
            # The example ran at startup, so these values are the cause, such as an index out of
            # range or lengths that do not match.
            raise ModelRejectedError(text, feeds) from error
        except MemoryError as error:
            raise MemoryExceededError from error

    def time_run(self, feeds: Mapping[str, Array]) -> float:
        """Return the duration of the fastest of several runs, in seconds."""
        names = list(self.outputs)
        times = []
        for _ in range(_TIMED_RUNS):
            started = time.perf_counter()
            self.run(feeds, names)
            times.append(time.perf_counter() - started)
        return min(times)


def load_model(settings: Settings) -> Model:
    """Load the model version in the settings' directory, after verifying its files.

    Raises:
        ModelError: If a file is missing or differs, if ONNX Runtime cannot load the model, or if
            the version's own code cannot be used.
    """
    directory = settings.model_dir
    try:
        card = read_card(directory)
        verify_files(directory, card)
    except CardError as error:
        raise ModelError(str(error)) from error
    path = directory / MODEL_FILE
    options = _build_session_options(settings)
    try:
        for library in find_libraries(card.operators):
            options.register_custom_ops_library(str(library))
    except OperatorsError as error:
        raise ModelError(f"{directory}: {error}") from error
    try:
        session = create_session(path, options, settings.execution_providers)
    except ProviderError as error:
        raise ModelError(f"BERTH_EXECUTION_PROVIDERS: {error}") from error
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types here.
        raise ModelError(f"{path}: ONNX Runtime cannot load the model: {error}") from error
    processing = None
    if card.processing:
        try:
            path = directory / card.processing
            processing = load_processing(path, card.files[card.processing])
        except ProcessingError as error:
            raise ModelError(str(error)) from error
    statistics = None
    if card.statistics:
        try:
            statistics = read_statistics(directory / card.statistics)
        except StatisticsError as error:
            raise ModelError(str(error)) from error
    return Model(card, digest(directory), session, processing, statistics)


def _build_session_options(settings: Settings) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    spinning = "1" if settings.spinning else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    options.log_severity_level = _LOG_FATAL
    use_shared_arena(options)
    return options


def _match_tensors(
    nodes: Sequence[Any], card_tensors: Sequence[Tensor], kind: str
) -> dict[str, TensorSpec]:
    """Return the session's inputs or outputs, after checking that the card lists the same."""
    unmatched = {tensor.name: tensor for tensor in card_tensors}
    specs = {}
    for node in nodes:
        datatype = _read_datatype(node, kind)
        shape = tuple(dim if isinstance(dim, int | str) else None for dim in node.shape)
        expected = unmatched.pop(node.name, None)
        optional = expected is not None and expected.optional
        spec = specs[node.name] = TensorSpec(node.name, datatype, shape, optional)
        actual = spec.metadata()
        if (
            expected is None
            or actual.datatype != expected.datatype
            or actual.shape != expected.shape
        ):
            card_text = (
                f"{expected.datatype} {expected.shape} in the model card"
                if expected
                else "missing in the model card"
            )
            raise ModelError(
                f"The model's {kind} {node.name!r} is {actual.datatype} {actual.shape} in the"
                f" model, but {card_text}. Package the version again."
            )
    if unmatched:
        raise ModelError(
            f"The model card lists {kind}s that the model does not have: {', '.join(unmatched)}."
            " Package the version again."
        )
    return specs


def _read_declared(
    declared: Sequence[Tensor], card_tensors: Sequence[Tensor], kind: str
) -> dict[str, TensorSpec]:
    """Return the tensors that the version's Python file declares, if the card lists the same."""
    if list(declared) != list(card_tensors):
        raise ModelError(
            f"{PROCESSING_FILE} declares other {kind} than the model card. Package the version"
            " again."
        )
    return {
        tensor.name: TensorSpec(
            tensor.name,
            DATATYPES[tensor.datatype],
            tuple(None if dim < 0 else dim for dim in tensor.shape),
            tensor.optional,
        )
        for tensor in declared
    }


def _read_inputs(session: onnxruntime.InferenceSession) -> Iterator[Tensor]:
    """Return the inputs of the model itself. Those with a default are optional."""
    required = {node.name for node in session.get_inputs()}
    for node in (*session.get_inputs(), *session.get_overridable_initializers()):
        # The weights of a model can have types that no input has.
        if node.name in required or node.type in BY_ONNX_TYPE:
            yield Tensor(
                name=node.name,
                datatype=_read_datatype(node, "input").name,
                shape=[dim if isinstance(dim, int) else -1 for dim in node.shape],
                optional=node.name not in required,
            )


def _read_datatype(node: Any, kind: str) -> Datatype:
    datatype = BY_ONNX_TYPE.get(node.type)
    if datatype is None:
        raise ModelError(
            f"The model's {kind} {node.name!r} has type {node.type}, which the protocol does not"
            f" define. Convert it to one of: {', '.join(DATATYPES)}."
        )
    return datatype


def _is_first_dim_free(spec: TensorSpec) -> bool:
    return bool(spec.shape) and not isinstance(spec.shape[0], int)


def count_elements(feeds: Mapping[str, Array]) -> int:
    """Return the number of elements of all inputs, at least 1. A run's time grows with it.

    A text counts with its characters. All texts of an input count as much as the longest, because
    models pad them to the same length.
    """
    return sum(_count(array) for array in feeds.values()) or 1


def _count(array: Array) -> int:
    if array.dtype.kind != "O" or not array.size:
        return array.size
    return array.size * max(1, max(map(len, array.ravel())))
