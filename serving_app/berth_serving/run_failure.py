"""Why ONNX Runtime could not run a request, without the values of the request."""

import re
from collections.abc import Mapping

from berth_protocol.errors import RequestError
from berth_protocol.headers import RETRY_AFTER
from berth_serving.tensors import Array
from berth_serving.text import describe_shape

_NODE = re.compile(r"while running (\S+) node\. Name:'([^']*)'")
# ONNX Runtime's messages can contain values, such as an index or a text. Only these parts, which
# contain nothing but dimensions and limits of the model, are returned.
_DETAILS = (
    (re.compile(r"Input shape:(\{[-\d, ]*\}), requested shape:(\{[-\d, ]*\})"),
     "its input has shape {0}, which cannot become {1}"),
    (re.compile(r"dimension other than 1\. (\d+) by (\d+)"),
     "it cannot combine dimensions {0} and {1}"),
    (re.compile(r"Axis (\d+) has mismatched dimensions of (\d+) and (\d+)"),
     "its inputs have {1} and {2} elements on axis {0}"),
    (re.compile(r"LeftShape: ?(\{[-\d, ]*\}), RightShape: ?(\{[-\d, ]*\})"),
     "it cannot combine shapes {0} and {1}"),
    (re.compile(r"Dimension mismatch, W: (\{[-\d, ]*\}) K: (\d+) N: ?(\d+)"),
     "its weights have shape {0}, but its input has {1} columns"),
    (re.compile(r"C: (\d+) kernel channels: (\d+) group: (\d+)"),
     "its input has {0} channels, but its weights have {1} in {2} groups"),
    (re.compile(r"must be 1 instead of (\d+)\. shape=(\{[-\d, ]*\})"),
     "its input has shape {1}, where a dimension must be 1 instead of {0}"),
    (re.compile(r"out of data bounds, .*inclusive range (\[-?\d+, ?-?\d+\])"),
     "an index is outside its range {0}"),
)  # fmt: skip


class ModelRejectedError(RequestError):
    """A model that cannot run the values of a request.

    Attributes:
        reason: Operator, node and shapes; no values of the request.
    """

    def __init__(self, error_text: str, feeds: Mapping[str, Array]) -> None:
        """Build the error from ONNX Runtime's message."""
        self.reason = _describe(error_text, feeds)
        super().__init__(
            400, f"The model cannot run this request. {self.reason} Send values that fit the model."
        )


class GpuFailureError(RequestError):
    """A run that failed on the GPU. After some failures, every later run of the process fails.

    Attributes:
        failure: What NVIDIA's library reported.
    """

    def __init__(self, failure: str) -> None:
        self.failure = failure
        super().__init__(
            503,
            "The GPU of this berth failed. The berth restarts. Retry later.",
            {RETRY_AFTER: "1"},
        )


def _describe(error_text: str, feeds: Mapping[str, Array]) -> str:
    shapes = ", ".join(f"{name} {describe_shape(array.shape)}" for name, array in feeds.items())
    node = _NODE.search(error_text)
    if node is None:
        return f"Inputs: {shapes}."
    operator, name = node.groups()
    label = f"node {name!r} " if name else ""
    detail = ""
    for pattern, text in _DETAILS:
        match = pattern.search(error_text)
        if match is not None:
            detail = ": " + text.format(*match.groups())
            break
    return f"The operator {operator} {label}failed{detail}. Inputs: {shapes}."
