"""Paths of the gateway next to the Open Inference Protocol: which models there are, and their API.

Triton defines the repository index, a model's configuration and its statistics:
https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from dataclasses import dataclass
from enum import Enum

from berth_protocol.paths import MODELS, ROOT, find_operation, model_path

DOCS = "/docs"
OPENAPI = "/openapi.json"
REPOSITORY_INDEX = f"{ROOT}/repository/index"
CONFIG_SUFFIX = "/config"
STATISTICS_SUFFIX = "/stats"
OPENAPI_SUFFIX = "/openapi.json"


class CatalogOperation(Enum):
    """An operation of the gateway that is about models, and not about tensors."""

    DOCS = "docs"
    OPENAPI = "OpenAPI document"
    MODELS = "model list"
    REPOSITORY_INDEX = "repository index"
    MODEL_CONFIG = "model configuration"
    MODEL_STATISTICS = "model statistics"
    MODEL_OPENAPI = "OpenAPI document of a model"

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the operation accepts."""
        return ("POST",) if self is CatalogOperation.REPOSITORY_INDEX else ("GET", "HEAD")


_SERVER_PATHS = {
    DOCS: CatalogOperation.DOCS,
    OPENAPI: CatalogOperation.OPENAPI,
    MODELS: CatalogOperation.MODELS,
    REPOSITORY_INDEX: CatalogOperation.REPOSITORY_INDEX,
}
_MODEL_SUFFIXES = {
    CONFIG_SUFFIX: CatalogOperation.MODEL_CONFIG,
    STATISTICS_SUFFIX: CatalogOperation.MODEL_STATISTICS,
    OPENAPI_SUFFIX: CatalogOperation.MODEL_OPENAPI,
}

CATALOG_TEMPLATES: dict[str, CatalogOperation] = {
    **_SERVER_PATHS,
    **{
        prefix + suffix: operation
        for prefix in (model_path("{model}"), model_path("{model}", "{version}"))
        for suffix, operation in _MODEL_SUFFIXES.items()
    },
}
"""Every path of the catalog, with `{model}` and `{version}` as placeholders -> its operation."""


@dataclass(frozen=True)
class CatalogRoute:
    """A parsed path of the catalog.

    Attributes:
        operation: The operation at this path.
        model: Model name. Empty for operations of the server.
        version: Version name. None if the path has no version.
    """

    operation: CatalogOperation
    model: str = ""
    version: str | None = None


def parse_catalog_path(raw_path: str) -> CatalogRoute | None:
    """Return the route of a path as the client sent it, or None if the catalog has no such path.

    Paths are equal under the same conditions as in `berth_protocol.paths.parse_path`.
    """
    found = find_operation(raw_path, _SERVER_PATHS, _MODEL_SUFFIXES)
    return None if found is None else CatalogRoute(*found)
