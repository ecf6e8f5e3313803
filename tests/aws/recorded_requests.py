"""The requests that reach the emulator, recorded and read as operations of AWS.

The emulator accepts what AWS's models of its services refuse, such as names that are too long.
`tests/aws/request_shapes.py` compares each recorded request with the model.
"""

import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
from moto.core.model import ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.wrappers import Request

_SCOPE = re.compile(r"Credential=[^/]+/[0-9]{8}/[a-z0-9-]*/(?P<name>[a-z0-9-]+)/aws4_request")
# Name in a signature -> name of the model, where they differ.
_MODELS = {
    "monitoring": "cloudwatch",
    "elasticloadbalancing": "elbv2",
    "s3express": "s3",
    "email": "ses",
    "servicequotas": "service-quotas",
}
_KEPT_HEADERS = ("content-type", "content-md5", "x-amz-", "x-amzn-", "host")
_DROPPED_HEADERS = ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")


@dataclass(frozen=True)
class RecordedRequest:
    """A request as the provider sent it.

    Attributes:
        service: Name in the signature, such as `ec2`.
        method: HTTP method.
        path: Path and query.
        headers: Headers that carry parameters.
        body: Body as text.
        status: Status of the emulator's response.
    """

    service: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    status: int


def record_to(path: Path, app: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application that writes each signed request as a line of JSON."""
    lock = threading.Lock()

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request = Request(environ)
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        if scope is None:
            return app(environ, start_response)
        data = request.get_data(cache=True)
        environ["wsgi.input"] = io.BytesIO(data)
        environ["CONTENT_LENGTH"] = str(len(data))
        headers = {
            key.lower(): value
            for key, value in request.headers.items()
            if key.lower().startswith(_KEPT_HEADERS) and key.lower() not in _DROPPED_HEADERS
        }
        entry = {
            "service": scope["name"],
            "method": request.method,
            "path": environ.get("RAW_URI") or request.full_path,
            "headers": headers,
            "body": data.decode("utf-8", "replace"),
        }

        def start(status: str, *arguments: Any) -> Any:
            entry["status"] = int(status.split()[0])
            with lock, path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            return start_response(status, *arguments)

        return app(environ, start)

    return wrapped


def read_requests(lines: Iterable[str]) -> Iterator[RecordedRequest]:
    """Return the requests of a recording."""
    for line in lines:
        yield RecordedRequest(**json.loads(line))


@cache
def get_model(name: str) -> Any:
    """Return the model of a service by the name in a signature."""
    loader = botocore.session.get_session().get_component("data_loader")
    service = _MODELS.get(name, name)
    return ServiceModel(loader.load_service_model(service, "service-2"), service)


@cache
def _routes(name: str) -> list[tuple[str, re.Pattern[str], set[str], str, int]]:
    """Return method, path, query keys, and operation of a REST service, most specific first.

    Several operations can have one route. Those that AWS has replaced are last.
    """
    model = get_model(name)
    routes = []
    for operation in model.operation_names:
        http = model.operation_model(operation).http
        path, _, query = http["requestUri"].partition("?")
        required = _list_required_query_keys(model.operation_model(operation).input_shape)
        keys = {part.partition("=")[0] for part in query.split("&") if part} | required
        fixed = len(re.sub(r"\{[^}]+\}", "", path))
        routes.append((http["method"], _compile_path(path), keys, operation, fixed))
    return sorted(
        routes,
        key=lambda route: (
            model.operation_model(route[3]).deprecated,
            -len(route[2]),
            -route[4],
        ),
    )


def _compile_path(template: str) -> re.Pattern[str]:
    """Return a pattern of the paths of a template, with a group for each variable.

    `{name}` matches one step of the path, `{name+}` one or more. A group has `__` for `-`.
    """
    text = ""
    for number, part in enumerate(re.split(r"\{([^}]+)\}", template)):
        if number % 2 == 0:
            text += re.escape(part)
        else:
            name = part.removesuffix("+").replace("-", "__")
            text += f"(?P<{name}>{'.+' if part.endswith('+') else '[^/]+'})"
    return re.compile(text.rstrip("/") + "/?")


def _list_required_query_keys(shape: Any) -> set[str]:
    members = (
        {} if shape is None else {name: shape.members[name] for name in shape.required_members}
    )
    return {
        member.serialization.get("name", name)
        for name, member in members.items()
        if member.serialization.get("location") == "querystring"
    }


def find_operation(request: RecordedRequest) -> str | None:
    """Return the name of the operation that a request calls, or None if it is not known."""
    parts = urlsplit(request.path)
    protocol = get_model(request.service).metadata["protocol"]
    if protocol in ("query", "ec2"):
        match = re.search(r"(?:^|&)Action=(\w+)", request.body) or re.search(
            r"(?:^|&)Action=(\w+)", parts.query
        )
        return match[1] if match else None
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if protocol == "smithy-rpc-v2-cbor" or "/operation/" in parts.path:
        return parts.path.rpartition("/")[2]
    if named := re.search(r"(?:^|&)x-id=(\w+)", parts.query):
        return named[1]
    given = {part.partition("=")[0] for part in parts.query.split("&") if part}
    for method, pattern, keys, operation, _ in _routes(request.service):
        # A header distinguishes copies in S3 (CopyObject, UploadPartCopy) from uploads.
        if "Copy" in operation and "x-amz-copy-source" not in request.headers:
            continue
        if method == request.method and keys <= given and pattern.fullmatch(parts.path):
            return operation
    return None


def parse_parameters(request: RecordedRequest, operation: str) -> dict[str, Any] | None:
    """Return the parameters of a request, or None if its protocol cannot be read."""
    model = get_model(request.service).operation_model(operation)
    content_type = request.headers.get("content-type", "")
    if "cbor" in content_type or model.input_shape is None:
        return None
    is_json = "x-amz-json" in content_type
    protocol = "json" if is_json else get_model(request.service).metadata["protocol"]
    if protocol not in PROTOCOL_PARSERS:
        return None
    parts = urlsplit(request.path)
    form = request.body if "x-www-form-urlencoded" in content_type else ""
    values = MultiDict(_split_query("&".join(filter(None, (parts.query, form)))))
    parsed: dict[str, Any] = PROTOCOL_PARSERS[protocol](model).parse(
        {
            "method": request.method,
            "values": values,
            "headers": Headers(list(request.headers.items())),
            "body": request.body.encode(),
            "url_path": parts.path,
            "url_params": _match_path(model.http["requestUri"], parts.path),
        }
    )
    return parsed


def _split_query(query: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [(unquote(key), unquote(value.replace("+", " "))) for key, _, value in pairs]


def _match_path(template: str, path: str) -> dict[str, str]:
    """Return the values of the variables of a path template."""
    match = _compile_path(template.partition("?")[0]).fullmatch(path)
    found = match.groupdict() if match else {}
    return {key.replace("__", "-"): unquote(value) for key, value in found.items()}
