"""URL paths of the Open Inference Protocol v2: templates, builders and a parser.

Names of models and versions are inserted into paths unchanged. Berth restricts both to characters
that need no quoting in a URL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

_T = TypeVar("_T")

ROOT = "/v2"
LIVE = f"{ROOT}/health/live"
READY = f"{ROOT}/health/ready"
CAPTURED = "/captured-requests"
"""Captured requests of a berth, for operators. Not part of the protocol; needs the token."""
METRICS = "/metrics"
"""Prometheus metrics. Not part of the protocol; the same path on every Berth server."""

MODELS = f"{ROOT}/models"
READY_SUFFIX = "/ready"
INFER_SUFFIX = "/infer"


class Operation(Enum):
    """An operation of the protocol."""

    LIVE = "server live"
    READY = "server ready"
    SERVER_METADATA = "server metadata"
    MODEL_METADATA = "model metadata"
    MODEL_READY = "model ready"
    INFER = "infer"

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the operation accepts."""
        return ("POST",) if self is Operation.INFER else ("GET", "HEAD")

    @property
    def is_health_check(self) -> bool:
        """True for health checks of the server, which need no API key."""
        return self in (Operation.LIVE, Operation.READY)


_MODEL_SUFFIXES = {
    "": Operation.MODEL_METADATA,
    READY_SUFFIX: Operation.MODEL_READY,
    INFER_SUFFIX: Operation.INFER,
}
_SERVER_PATHS = {
    ROOT: Operation.SERVER_METADATA,
    LIVE: Operation.LIVE,
    READY: Operation.READY,
}


def model_path(model: str, version: str | None = None) -> str:
    """Return the metadata path of a model, or of one of its versions."""
    path = f"{MODELS}/{model}"
    return path if version is None else f"{path}/versions/{version}"


def model_ready_path(model: str, version: str | None = None) -> str:
    """Return the readiness path of a model, or of one of its versions."""
    return model_path(model, version) + READY_SUFFIX


def infer_path(model: str, version: str | None = None) -> str:
    """Return the inference path of a model, or of one of its versions."""
    return model_path(model, version) + INFER_SUFFIX


PATH_TEMPLATES: dict[str, Operation] = {
    **_SERVER_PATHS,
    **{
        prefix + suffix: operation
        for prefix in (model_path("{model}"), model_path("{model}", "{version}"))
        for suffix, operation in _MODEL_SUFFIXES.items()
    },
}
"""Every path of the protocol, with `{model}` and `{version}` as placeholders -> its operation."""


@dataclass(frozen=True)
class Route:
    """A parsed path.

    Attributes:
        operation: The operation at this path.
        model: Model name. Empty for operations of the server.
        version: Version name. None if the path has no version.
    """

    operation: Operation
    model: str = ""
    version: str | None = None


def parse_path(raw_path: str) -> Route | None:
    """Return the route of a path as the client sent it, or None if the protocol has no such path.

    Every program that reads a path uses this function, so that a path has one meaning. Equal are
    only paths that RFC 3986 considers equal (section 6.2.2.2: an encoded letter, digit, `-`, `.`,
    `_` or `~`), and a path with one slash at its end. A path with any other encoded character, such
    as `%2F`, has no route: an ingress controller would find another route for it than a program
    that decodes it. Repeated slashes and dot segments have no route either.
    """
    found = find_operation(raw_path, _SERVER_PATHS, _MODEL_SUFFIXES)
    return None if found is None else Route(*found)


def find_operation(
    raw_path: str, server_paths: Mapping[str, _T], model_suffixes: Mapping[str, _T]
) -> tuple[_T, str, str | None] | None:
    """Return the operation at a path as the client sent it, its model and its version, or None.

    Args:
        server_paths: Path -> operation of the server.
        model_suffixes: End of a path after the model or the version -> operation of a model.
    """
    path = _decode_path(raw_path)
    if path is None:
        return None
    operation = server_paths.get(path)
    if operation is not None:
        return operation, "", None
    prefix, _, rest = path.partition(f"{MODELS}/")
    if prefix or not rest:
        return None
    model, *parts = rest.split("/")
    version = None
    if len(parts) > 1 and parts[0] == "versions":
        version, parts = parts[1], parts[2:]
    if not all(_is_name(name) for name in (model, version) if name is not None):
        return None
    operation = model_suffixes.get("".join(f"/{part}" for part in parts))
    return None if operation is None else (operation, model, version)


def _decode_path(raw_path: str) -> str | None:
    """Return a path without encoded unreserved characters and without one slash at its end.

    Returns:
        None if it contains any other encoded character.
    """
    path = _ENCODED.sub(_decode_unreserved, raw_path) if "%" in raw_path else raw_path
    return None if "%" in path else path.removesuffix("/")


def _is_name(text: str) -> bool:
    """Return whether a part of a path can be the name of a model or of a version."""
    return _NAME.fullmatch(text) is not None


_ENCODED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
# Names of models and versions, as in the gateway's configuration. An error message can repeat them.
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _decode_unreserved(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0]
