"""JSON messages of the Open Inference Protocol, from which the API's schemas are generated."""

from typing import Annotated

import msgspec

# JSON can be read with larger integers than it can be written with.
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Parameter = bool | _Integer | float | str | None


class Error(msgspec.Struct):
    """An error: what happened and what to do."""

    error: str


class ServerMetadata(msgspec.Struct):
    """Name and version of the server, and the protocol extensions that it supports."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(msgspec.Struct):
    """Liveness of the server process."""

    live: bool


class ServerReady(msgspec.Struct):
    """Readiness of the server for inference requests."""

    ready: bool


class ModelReady(msgspec.Struct):
    """Readiness of the model for inference requests."""

    name: str
    ready: bool


class TensorMetadata(msgspec.Struct):
    """One input or output of a model. A dimension of -1 is free."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """A model, its versions, inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InputTensor(msgspec.Struct):
    """One input. `data` is flat or nested; the parameter `binary_data_size` can replace it.

    In floating-point data, null is NaN.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Parameter] | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class RequestedOutput(msgspec.Struct):
    """An output that the response must contain."""

    name: str
    parameters: dict[str, Parameter] | None = None


class InferenceRequest(msgspec.Struct):
    """An inference request. Without `outputs`, the response contains every output.

    A field that is null is the same as an absent field.
    """

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Parameter] | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct):
    """One output of an inference response. Its `data` is flat; NaN and infinities are null."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Parameter] = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class InferenceResponse(msgspec.Struct):
    """The outputs of a model for one inference request."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None
    parameters: dict[str, Parameter] = {}
