"""The check at the end of an update: every berth is ready, and every model answers a client.

The engine reports success when the target accepted every resource. A Deployment whose status is
still that of its previous generation, or a route that no gateway has loaded, also looks accepted.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.invoke import Request, Response, invoke, read_example
from berth.spec import HostingSpec, ModelSpec, SpecError

_POLL_SECONDS = 1.0
_RESPONSE_SECONDS = 15.0
_RETRY_SECONDS = 0.25
_PARALLEL_REQUESTS = 4
# Most models that an update requests. With more, it would take longer than the update.
_MODELS_REQUESTED = 50
_GOOD_STATES = frozenset({"ready", "cold"})
_UNREACHABLE = "host unreachable"
# States that waiting does not change, if they are seen several times in a row: a crashed container
# is started again after a pause that doubles.
_HOPELESS_STATES = frozenset(
    {"CrashLoopBackOff", "InvalidImageName", "CreateContainerConfigError", "stopped"}
)
_HOPELESS_POLLS = 5
Observe = Callable[[], Mapping[str, Any]]


def find_unready(
    observe: Observe,
    *,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    skips_unreachable: bool = False,
) -> list[str]:
    """Wait until everything is ready, and return what is not, with its state.

    It returns early if something is in a state that waiting does not change.

    Args:
        observe: Returns what `Platform.observe` returns.
        seconds: Time limit.
        skips_unreachable: Whether the update skipped hosts that are not reachable.
    """
    accepted = _GOOD_STATES | ({_UNREACHABLE} if skips_unreachable else set())
    deadline = time.monotonic() + seconds
    hopeless_polls = 0
    while True:
        try:
            unready = dict(_list_unready(observe(), accepted))
        except (SpecError, OperationError) as error:
            unready = {"the stack": f"could not be inspected: {error}"}
        if not unready:
            return []
        is_hopeless = not _HOPELESS_STATES.isdisjoint(unready.values())
        hopeless_polls = hopeless_polls + 1 if is_hopeless else 0
        if time.monotonic() > deadline or hopeless_polls >= _HOPELESS_POLLS:
            return [f"{name}: {state}" for name, state in unready.items()]
        sleep(_POLL_SECONDS)


def _list_unready(
    observed: Mapping[str, Any], accepted: AbstractSet[str]
) -> Iterator[tuple[str, str]]:
    if observed["gateway"] not in accepted:
        yield "gateway", observed["gateway"]
    for model, entry in observed["models"].items():
        for version, berth in entry["versions"].items():
            if berth["state"] not in accepted:
                yield f"{model} version {version}", berth["state"]


def request_examples(
    root: Path, stack: str, spec: HostingSpec, outputs: Mapping[str, Any]
) -> dict[str, tuple[Request, Response]]:
    """Send an example to each model through the gateway, and return the requests and responses.

    A model that no client with a key may call is left out, and so is one whose first version with
    traffic has no example.

    Raises:
        OperationError: If the gateway does not respond within 15 s.
    """
    targets = [
        _Target(name=name, model=name, version=next(iter(model.traffic)), is_named=False)
        for name, model in spec.models.items()
    ]
    return _request_targets(root, stack, spec, outputs, targets, limit=_MODELS_REQUESTED)


def request_versions(
    root: Path, stack: str, spec: HostingSpec, outputs: Mapping[str, Any]
) -> dict[str, tuple[Request, Response]]:
    """Send an example to each version with traffic, as `request_examples` does to each model.

    The traffic split selects the version of a request that cannot name it, because clients cannot
    call that version by name.

    Raises:
        OperationError: If the gateway does not respond within 15 s.
    """
    targets = [
        _Target(
            name=f"{name} {version}",
            model=name,
            version=version,
            is_named=version in model.exposed_versions,
        )
        for name, model in spec.models.items()
        for version, weight in model.traffic.items()
        if weight
    ]
    return _request_targets(root, stack, spec, outputs, targets)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What a request is sent to. `version` has the example, and is in the path if `is_named`."""

    name: str
    model: str
    version: str
    is_named: bool


def _request_targets(
    root: Path,
    stack: str,
    spec: HostingSpec,
    outputs: Mapping[str, Any],
    targets: Sequence[_Target],
    *,
    limit: int | None = None,
) -> dict[str, tuple[Request, Response]]:
    callers = {model: _find_caller(spec, outputs, model) for model in spec.models}
    callable_targets = [
        target
        for target in targets
        if callers[target.model] is not None and _has_example(spec.models[target.model], target)
    ][:limit]

    def request_example(target: _Target) -> tuple[Request, Response]:
        request = read_example(root, stack, target.model, target.version, lambda: spec)
        version = target.version if target.is_named else None
        client = callers[target.model]
        send = partial(invoke, outputs, target.model, request, version=version, client=client)
        return request, _send_with_retries(send)

    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        results = pool.map(request_example, callable_targets)
        names = [target.name for target in callable_targets]
        return dict(zip(names, results, strict=True))


def _has_example(model: ModelSpec, target: _Target) -> bool:
    container = model.versions[target.version].container
    return container is None or container.example is not None


def find_failed(responses: Mapping[str, tuple[Request, Response]]) -> list[str]:
    """Return the models that do not serve, with their responses."""
    return [
        f"{model}: a request with its example got {response.status} {response.body}"
        for model, (_, response) in responses.items()
        if _has_failed(response)
    ]


def _has_failed(response: Response) -> bool:
    return response.status == 404 or response.status >= 500


def _send_with_retries(send: Callable[[], Response]) -> Response:
    """Send until the model serves or 15 s have passed.

    A cluster's gateway learns of a route, and its nodes of an address, a moment after creation.
    """
    deadline = time.monotonic() + _RESPONSE_SECONDS
    while True:
        is_last = time.monotonic() > deadline
        try:
            response = send()
        except OperationError:
            if is_last:
                raise
        else:
            if response.status == 200 or is_last:
                return response
        time.sleep(_RETRY_SECONDS)


def _find_caller(spec: HostingSpec, outputs: Mapping[str, Any], model: str) -> str | None:
    """Return a client that has a key and may call the model. Prefer the client `default`."""
    names = sorted(outputs["api_keys"], key=lambda name: (name != "default", name))
    for name in names:
        client = spec.gateway.clients.get(name)
        if client is None or client.models is None or model in client.models:
            return str(name)
    return None
