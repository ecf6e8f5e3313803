"""One model version: its files checked, its session made and warmed up, its runs."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from berth_protocol.errors import RequestError, overload_error
from berth_protocol.model_card import (
    MODEL_FILE,
    CardError,
    ModelCard,
    Tensor,
    digest,
    read_card,
    verify_files,
)
from berth_serving.datatypes import BY_ONNX_TYPE, DATATYPES, Datatype
from berth_serving.settings import Settings
from berth_serving.tensors import Array

_TIMED_RUNS = 5
# onnxruntime's own lines are not JSON and can have values of a request in them; its errors come
# as exceptions.
_SILENT = 4
onnxruntime.set_default_logger_severity(_SILENT)
_MAX_DIM = 2**31


class ModelError(RuntimeError):
    """A model that cannot be served; the message says why."""


@dataclass(frozen=True)
class Port:
    """One input or output. `shape` has numbers where a dimension is fixed, and a name or None
    where it is free; free dimensions of one name are equal in one request."""

    name: str
    datatype: Datatype
    shape: tuple[int | str | None, ...]

    @property
    def has_rows(self) -> bool:
        """Whether the first dimension is free, so that it can be the rows of a request."""
        return bool(self.shape) and not isinstance(self.shape[0], int)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of `shape` fits: rank, and every fixed dimension."""
        if len(shape) != len(self.shape):
            return False
        for dim, fixed in zip(shape, self.shape, strict=True):
            if dim != fixed and (type(fixed) is int or not 0 <= dim < _MAX_DIM):
                return False
        return True

    def metadata(self) -> dict[str, Any]:
        """As the protocol's model metadata has it."""
        return {
            "name": self.name,
            "datatype": self.datatype.name,
            "shape": [dim if isinstance(dim, int) else -1 for dim in self.shape],
        }


class Model:
    """A loaded model version. `run` may be called from several threads at once.

    Attributes:
        inputs, outputs: by name, in the model's order.
        batched: whether the first dimension of every input and output is free, so that rows of
            several requests can be run together.
        batched_inputs: the inputs whose first dimension is free.
        shared_dims: (dimension, input, axis) of free dimensions that have one name in several
            places, and so one size in a request.
    """

    def __init__(self, card: ModelCard, digest: str, session: onnxruntime.InferenceSession) -> None:
        self.card = card
        self.digest = digest
        self._session = session
        self.inputs = _ports(session.get_inputs(), card.inputs, "input")
        self.outputs = _ports(session.get_outputs(), card.outputs, "output")
        ports = [*self.inputs.values(), *self.outputs.values()]
        self.batched = all(port.has_rows for port in ports)
        self.batched_inputs = [port.name for port in self.inputs.values() if port.has_rows]
        self.shared_dims = _shared_dims(list(self.inputs.values()))

    @property
    def providers(self) -> list[str]:
        """The execution providers that are really in use."""
        return list(self._session.get_providers())

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], stop: Any = None
    ) -> list[Array]:
        """The outputs named, for inputs that were validated. `stop` is a `RunOptions` whose
        `terminate`, set from another thread, ends the run.

        Raises:
            RequestError: the model does not take these values, or memory ran out.
        """
        try:
            return list(self._session.run(list(outputs), dict(feeds), stop))
        except (ort_errors.InvalidArgument, ort_errors.RuntimeException, ort_errors.Fail) as error:
            if "alloc" in str(error).lower():
                raise overload_error("not enough memory for this request") from error
            # The example ran at start, so it is these values that the model does not take:
            # an index beyond its table, lengths that do not fit each other.
            raise RequestError(400, "the model cannot be run on these values") from error

    def time_run(self, feeds: Mapping[str, Array]) -> float:
        """Seconds of one run, the quickest of some."""
        names = list(self.outputs)
        times = []
        for _ in range(_TIMED_RUNS):
            started = time.perf_counter()
            self.run(feeds, names)
            times.append(time.perf_counter() - started)
        return min(times)


def load(settings: Settings) -> Model:
    """The model in the settings' folder, every file of it held against its card.

    Raises:
        ModelError: a file is missing or differs, or onnxruntime does not take the model.
    """
    folder = settings.model_dir
    try:
        card = read_card(folder)
        verify_files(folder, card)
    except CardError as error:
        raise ModelError(str(error)) from error
    available = onnxruntime.get_available_providers()
    missing = [name for name in settings.execution_providers if name not in available]
    if missing:
        raise ModelError(
            f"execution providers {', '.join(missing)} are not in this onnxruntime; "
            f"it has: {', '.join(available)}"
        )
    try:
        session = onnxruntime.InferenceSession(
            folder / MODEL_FILE,
            sess_options=_options(settings),
            providers=list(settings.execution_providers),
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated types here
        raise ModelError(f"{folder / MODEL_FILE}: onnxruntime does not load it: {error}") from error
    return Model(card, digest(folder), session)


def _options(settings: Settings) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    spinning = "1" if settings.spinning else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    options.log_severity_level = _SILENT
    return options


def _ports(nodes: Sequence[Any], tensors: Sequence[Tensor], what: str) -> dict[str, Port]:
    """The session's own inputs or outputs, which the card must agree with."""
    named = {tensor.name: tensor for tensor in tensors}
    ports = {}
    for node in nodes:
        datatype = BY_ONNX_TYPE.get(node.type)
        if datatype is None:
            raise ModelError(
                f"{what} {node.name!r} is a {node.type}, which the protocol cannot carry; "
                f"it has: {', '.join(DATATYPES)}"
            )
        shape = tuple(dim if isinstance(dim, int | str) else None for dim in node.shape)
        ports[node.name] = Port(node.name, datatype, shape)
        found, said = ports[node.name].metadata(), named.pop(node.name, None)
        if said is None or found != {
            "name": said.name,
            "datatype": said.datatype,
            "shape": said.shape,
        }:
            raise ModelError(f"the card says {said} of {what} {node.name!r}, the model is {found}")
    if named:
        raise ModelError(f"the card names {what}s that the model does not have: {', '.join(named)}")
    return ports


def _shared_dims(ports: Sequence[Port]) -> list[tuple[str, str, int]]:
    places = [
        (dim, port.name, axis)
        for port in ports
        for axis, dim in enumerate(port.shape)
        if isinstance(dim, str)
    ]
    count = Counter(dim for dim, _, _ in places)
    return [place for place in places if count[place[0]] > 1]


def rows_of(feeds: Mapping[str, Array]) -> int:
    """Rows of a batched request: the first dimension of its inputs."""
    first = next(iter(feeds.values()))
    return int(first.shape[0]) if first.ndim else 1


def elements_of(feeds: Mapping[str, Array]) -> int:
    """Elements of all inputs together, at least 1: what a run's time grows with."""
    return sum(array.size for array in feeds.values()) or 1
