"""Comparison of requests with AWS's models of its services, as botocore has them.

The models contain required members, enumerations, patterns, lengths and ranges. AWS refuses a
request that breaks one (`ValidationException` and others), and the emulator accepts it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from tests.aws.recorded_requests import (
    RecordedRequest,
    find_operation,
    get_model,
    parse_parameters,
)

KNOWN_VIOLATIONS: dict[str, str] = {}
"""Problem -> why AWS accepts the request although its model does not."""

_NOT_FOUND = (404, 501)
# Classes of Java's regular expressions inside brackets, in Python's.
_CLASSES = {r"\p{L}": "a-zA-Z\u00c0-\U0010ffff", r"\p{Z}": r"\s", r"\p{N}": r"\d"}


def find_violations(requests: Iterable[RecordedRequest]) -> dict[str, RecordedRequest]:
    """Return each problem of the requests, with the first request that has it."""
    found: dict[str, RecordedRequest] = {}
    for request in requests:
        for problem in _check(request):
            if problem not in KNOWN_VIOLATIONS:
                found.setdefault(problem, request)
    return found


def _check(request: RecordedRequest) -> Iterator[str]:
    operation = find_operation(request)
    if operation is None or operation not in get_model(request.service).operation_names:
        if request.status not in _NOT_FOUND:
            yield f"{request.service}: {request.method} {request.path[:100]} is no known operation"
        return
    parameters = parse_parameters(request, operation)
    if parameters is None:
        return
    shape = get_model(request.service).operation_model(operation).input_shape
    for path, problem in check_shape(shape, parameters, ""):
        yield f"{request.service}.{operation}{path}: {problem}"


def check_shape(shape: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of each part of a value that breaks its shape."""
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            for name in shape.required_members:
                if value.get(name) is None and not _is_bound(shape, name):
                    yield f"{path}.{name}", "is required"
            for name, member in value.items():
                if name in shape.members and member is not None:
                    yield from check_shape(shape.members[name], member, f"{path}.{name}")
        case "list" if isinstance(value, list):
            yield from _check_range(shape, len(value), path, "entries")
            for member in value:
                yield from check_shape(shape.member, member, f"{path}[]")
        case "map" if isinstance(value, Mapping):
            yield from _check_range(shape, len(value), path, "entries")
            for key, member in value.items():
                yield from check_shape(shape.key, key, f"{path} (key)")
                yield from check_shape(shape.value, member, f"{path}[{key}]")
        case "string" if isinstance(value, str):
            yield from _check_text(shape, value, path)
        case "integer" | "long" | "float" | "double":
            yield from _check_range(shape, value, path, "")


def _is_bound(shape: Any, name: str) -> bool:
    """Return whether the value is in the host or a header that the recording does not keep."""
    serialization = shape.members[name].serialization
    return bool(serialization.get("hostLabel")) or serialization.get("location") == "header"


def _check_text(shape: Any, value: str, path: str) -> Iterator[tuple[str, str]]:
    yield from _check_range(shape, len(value), path, "characters")
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield path, f"{value!r} is not one of {', '.join(allowed[:10])}"
    pattern = _compile(shape.metadata.get("pattern", ""))
    if pattern is not None and not pattern.fullmatch(value):
        yield path, f"{value[:200]!r} does not match {pattern.pattern}"


def _check_range(shape: Any, size: float, path: str, unit: str) -> Iterator[tuple[str, str]]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < float(least):
        yield path, f"{size} {unit} is less than {least}".replace("  ", " ")
    if most is not None and size > float(most):
        yield path, f"{size} {unit} is more than {most}".replace("  ", " ")


@cache
def _compile(pattern: str) -> "re.Pattern[str] | None":
    """Return a pattern of Java as one of Python, or None if it is empty or has no equivalent."""
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern, re.DOTALL) if pattern else None
    except re.error:
        return None
