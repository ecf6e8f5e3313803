"""Routes: what the path of a request asks for, and whether that is open to clients."""

from dataclasses import dataclass
from enum import Enum

from berth_gateway.refusal import RefusalError
from berth_gateway.table import Model, Table


class Ask(Enum):
    """What a path asks for."""

    LIVE = "live"
    ALL_READY = "all ready"
    SERVER = "server metadata"
    METADATA = "model metadata"
    READY = "model ready"
    INFER = "infer"


OPEN = (Ask.LIVE, Ask.ALL_READY)
"""What needs no key."""

_METHODS = {Ask.INFER: ("POST",)}
_READING = ("GET", "HEAD")
_LAST_PART = {"ready": Ask.READY, "infer": Ask.INFER}


@dataclass(frozen=True)
class Route:
    """A path taken apart. `model` is empty and `version` None where the path names none."""

    ask: Ask
    model: str = ""
    version: str | None = None


_FIXED = {
    ("v2",): Route(Ask.SERVER),
    ("v2", "health", "live"): Route(Ask.LIVE),
    ("v2", "health", "ready"): Route(Ask.ALL_READY),
}


def route_of(path: str) -> Route | None:
    """The route that `path` names; None for a path that asks for nothing known."""
    parts = tuple(path.split("/")[1:])
    if parts in _FIXED:
        return _FIXED[parts]
    if parts[:2] != ("v2", "models") or len(parts) < 3 or not parts[2]:
        return None
    model, rest = parts[2], parts[3:]
    version = None
    if rest[:1] == ("versions",) and len(rest) > 1:
        version, rest = rest[1], rest[2:]
    if not rest:
        return Route(Ask.METADATA, model, version)
    if len(rest) == 1 and rest[0] in _LAST_PART:
        return Route(_LAST_PART[rest[0]], model, version)
    return None


def check_method(route: Route, method: str) -> None:
    """Raises RefusalError (405) when `method` does not fit what `route` asks for."""
    allowed = _METHODS.get(route.ask, _READING)
    if method not in allowed:
        raise RefusalError(
            405, f"{method} is not how to ask this; use {' or '.join(allowed)}",
            {"allow": ", ".join(allowed)},
        )  # fmt: skip


def open_model(table: Table, route: Route) -> Model:
    """The model of `route`, when it and the version named are exposed.

    Raises:
        RefusalError: 404, naming what is exposed.
    """
    model = table.models.get(route.model)
    if model is None or not model.exposed:
        exposed = sorted(name for name, model in table.models.items() if model.exposed)
        raise RefusalError(
            404, f"there is no model {route.model!r}; there are: {', '.join(exposed) or 'none'}"
        )
    if route.version is not None and route.version not in model.exposed:
        raise RefusalError(
            404,
            f"model {route.model!r} has no version {route.version!r}; "
            f"it has: {', '.join(model.exposed)}",
        )
    return model
