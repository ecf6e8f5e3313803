"""The ASGI application of a berth: routes requests to the data plane."""

import asyncio
import hmac
import logging
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from berth_protocol.asgi import Receive, Scope, Send, choose_request_id
from berth_protocol.body_memory import BodyMemory
from berth_protocol.errors import RequestError, overload_error
from berth_protocol.headers import SHADOW, TOKEN, VERSION
from berth_protocol.json_logs import RequestLog, log_event
from berth_protocol.messages import ModelReady, ServerLive, ServerReady
from berth_protocol.paths import CAPTURED, METRICS, Operation, Route, model_path, parse_path
from berth_serving.data_plane import DataPlane
from berth_serving.http import docs_page
from berth_serving.http.body import BodyReader
from berth_serving.http.content_coding import (
    MIN_COMPRESSED_BYTES,
    accepts_gzip,
    compress,
    inflate,
    read_content_coding,
)
from berth_serving.http.openapi import build_document
from berth_serving.http.request import ParsedRequest, read_json_length, read_request
from berth_serving.http.response import (
    Response,
    build_request_headers,
    check_response_size,
    error_response,
    inference_response,
    json_response,
)
from berth_serving.metrics import CONTENT_TYPE, Metrics
from berth_serving.processing import ProcessingError
from berth_serving.run_failure import ModelRejectedError
from berth_serving.settings import Settings
from berth_serving.tensors import Array
from berth_serving.tracing import Trace

_LOG = logging.getLogger("berth")
_MAX_SHOWN_LENGTH = 200
_READ_METHODS = ("GET", "HEAD")
_SHADOW = SHADOW.encode()
_TOKEN = TOKEN.encode()
# Converting this many bytes takes about a millisecond, as long as the handover to a busy thread.
_LOOP_BYTES = 64 << 10
_RETURNED_BYTES = 4 << 20
_T = TypeVar("_T")


class App:
    """One worker's ASGI application.

    Args:
        body_memory: Memory for the bodies of all requests, which the server counts as they arrive.
            The application counts what inflated bodies take in addition.
    """

    def __init__(
        self,
        settings: Settings,
        plane: DataPlane,
        metrics: Metrics,
        trace: Trace | None,
        body_memory: BodyMemory,
    ) -> None:
        card = plane.model.card
        self._plane = plane
        self._metrics = metrics
        self._body_memory = body_memory
        self._token = settings.token
        self._max_batch = settings.max_batch
        self._max_body_bytes = settings.max_body_bytes
        self._codec = ThreadPoolExecutor(1, thread_name_prefix="codec")
        self._trace = trace
        self._body_reader = BodyReader(
            settings.max_body_bytes, max_concurrent=settings.queue + settings.threads
        )
        self._request_log = RequestLog() if _LOG.isEnabledFor(logging.INFO) else None
        self._infer_routes = {
            Route(Operation.INFER, card.name, version) for version in (None, card.version)
        }
        self._metrics_port = settings.metrics_port
        metrics_page: dict[str, Callable[[], Response]] = {
            METRICS: lambda: Response(200, [(b"content-type", CONTENT_TYPE)], metrics.render())
        }
        self._metrics_page = metrics_page
        self._pages: dict[str, Callable[[], Response]] = {
            **(metrics_page if settings.metrics_port is None else {}),
            "/openapi.json": lambda: json_response(200, build_document(plane)),
            "/docs": lambda: Response(
                200, docs_page.HEADERS, docs_page.render(build_document(plane))
            ),
        }
        self._operations: dict[Operation, Callable[[], Response]] = {
            Operation.LIVE: lambda: json_response(200, ServerLive(live=True)),
            Operation.READY: lambda: self._readiness(ServerReady(ready=plane.is_ready)),
            Operation.SERVER_METADATA: lambda: json_response(200, plane.server_metadata()),
            Operation.MODEL_METADATA: lambda: json_response(200, plane.model_metadata()),
            Operation.MODEL_READY: lambda: self._readiness(
                ModelReady(name=card.name, ready=plane.is_ready)
            ),
        }
        # Quoted as in a path, because only the card restricts what a version looks like.
        self._version_header = (VERSION.encode(), quote(card.version).encode())
        self._labels = labels = (card.name, card.version)
        self._completed = metrics.requests.labels(*labels, "200")
        self._latency = metrics.latency.labels(*labels)
        self._in_flight = metrics.in_flight.labels(*labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        headers = dict(scope["headers"])
        path, method = scope["raw_path"].decode("ascii"), scope["method"]
        request_id = choose_request_id(scope["headers"])
        route = parse_path(path)
        if path == CAPTURED and self._plane.capture is not None:
            response = self._respond_with_captured(method, headers)
        elif self._metrics_port is not None and scope["server"][1] == self._metrics_port:
            response = self._respond_with_metrics(method, path)
        elif method == "POST" and route in self._infer_routes:
            response = await self._respond_to_inference(headers, request_id, receive)
        else:
            response = self._respond(method, path, route)
        head = [
            *response.headers,
            (b"content-length", str(len(response.body)).encode()),
            *build_request_headers(headers, request_id),
        ]
        if path.startswith("/v2/models/"):
            head.append(self._version_header)
        if not self._plane.is_ready:
            head.append((b"connection", b"close"))
        body = b"" if method == "HEAD" else response.body
        is_held = response.held_bytes > 0
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": head})
            await send({"type": "http.response.body", "body": body, "more_body": is_held})
            if is_held:
                # The server accepts more when the client has taken nearly all of it.
                await send({"type": "http.response.body"})
        finally:
            if is_held:
                self._plane.release_response(response.held_bytes)

    async def _respond_to_inference(
        self, headers: Mapping[bytes, bytes], request_id: bytes, receive: Receive
    ) -> Response:
        """Respond to an inference request, and record its metrics, log line and trace."""
        started = time.perf_counter()
        self._in_flight.inc()
        if self._trace is None:
            response = await self._infer(headers, request_id, receive)
        else:
            text = {k.decode("latin-1"): v.decode("latin-1") for k, v in headers.items()}
            with self._trace(text) as set_status:
                response = await self._infer(headers, request_id, receive)
                set_status(response.status)
        self._in_flight.dec()
        seconds = time.perf_counter() - started
        self._latency.observe(seconds)
        if response.status == 200:
            self._completed.inc()
            if self._request_log is not None:
                self._request_log.write(
                    level="info",
                    message="Request completed",
                    **_build_log_fields(headers, request_id, 200, seconds),
                )
        else:
            status = response.status
            self._metrics.requests.labels(*self._labels, str(status)).inc()
            log_event(
                _LOG,
                logging.WARNING if status < 500 else logging.ERROR,
                "Request rejected",
                **_build_log_fields(headers, request_id, status, seconds),
            )
        return response

    async def _infer(
        self, headers: Mapping[bytes, bytes], request_id: bytes, receive: Receive
    ) -> Response:
        inflated_bytes = 0
        try:
            self._check_token(headers)
            coding = read_content_coding(headers)
            body = await self._body_reader.read(headers, receive)
            if coding is not None:
                # Even a short body can be long when it is inflated, so a thread inflates it.
                compressed_bytes = len(body)
                body = await self._run_codec(
                    sys.maxsize, inflate, body, coding, self._max_body_bytes
                )
                self._body_memory.reserve(len(body), compressed_bytes)
                inflated_bytes = len(body)
            json_length = read_json_length(headers, body)
            request = await self._run_codec(
                len(body), read_request, body, json_length, self._plane.model, self._max_batch
            )
            size = len(body)
            # The decoded request is enough from here on.
            del body
            return await self._plane.infer(
                request.feeds,
                tuple(request.outputs),
                partial(self._build_inference_response, headers, request, size),
            )
        except ModelRejectedError as error:
            log_event(
                _LOG,
                logging.WARNING,
                "The model rejected a request",
                request_id=request_id.decode(),
                reason=error.reason,
            )
            return error_response(error)
        except ProcessingError as error:
            log_event(
                _LOG,
                logging.ERROR,
                "The code of the model version failed",
                request_id=request_id.decode(),
                reason=str(error),
                trace=error.trace,
            )
            return error_response(_internal_error())
        except RequestError as error:
            return error_response(error)
        except MemoryError:
            return error_response(
                overload_error("The berth has too little memory at this moment. Retry later.")
            )
        except Exception:
            # The stack trace is for the log only: it could show a client internal details.
            _LOG.exception("Request failed", extra={"fields": {"request_id": request_id.decode()}})
            return error_response(_internal_error())
        finally:
            if inflated_bytes:
                self._body_memory.release(inflated_bytes)

    async def _build_inference_response(
        self,
        headers: Mapping[bytes, bytes],
        request: ParsedRequest,
        request_size: int,
        arrays: list[Array],
    ) -> Response:
        request.feeds.clear()
        response_size = check_response_size(request, arrays, self._plane.response_bytes)
        if request_size + response_size > _RETURNED_BYTES:
            self._plane.return_memory_later()
        response = await self._run_codec(
            response_size, inference_response, self._plane.model, request, arrays
        )
        if len(response.body) >= MIN_COMPRESSED_BYTES and accepts_gzip(headers):
            response = await self._run_codec(len(response.body), compress, response)
        if len(response.body) > _LOOP_BYTES:
            response = response._replace(held_bytes=len(response.body))
            self._plane.hold_response(response.held_bytes)
        return response

    def _respond_with_metrics(self, method: str, path: str) -> Response:
        """Respond to a request on the port that serves only metrics."""
        try:
            page = self._metrics_page.get(path)
            if page is None:
                raise RequestError(404, f"Path not found. Use {METRICS}.")
            _check_method(method, _READ_METHODS)
            return page()
        except RequestError as error:
            return error_response(error)

    def _respond_with_captured(self, method: str, headers: Mapping[bytes, bytes]) -> Response:
        """Respond with the captured requests, only to an operator who has the token."""
        try:
            if self._token is None:
                raise RequestError(403, "Captured requests need a token: set BERTH_TOKEN_FILE.")
            self._check_token(headers)
            _check_method(method, _READ_METHODS)
        except RequestError as error:
            return error_response(error)
        assert self._plane.capture is not None, "the caller checks it"
        kind = (b"content-type", b"application/jsonl")
        return Response(200, [kind, (b"cache-control", b"no-store")], self._plane.capture.render())

    def _check_token(self, headers: Mapping[bytes, bytes]) -> None:
        if self._token is not None and not hmac.compare_digest(
            headers.get(_TOKEN, b""), self._token
        ):
            raise RequestError(
                401, "Direct access is not allowed. Send the request to the gateway."
            )

    async def _run_codec(self, size: int, convert: Callable[..., _T], *arguments: Any) -> _T:
        """Return the result of a conversion of `size` bytes.

        A large one runs in a thread, where it does not delay other requests and health checks. The
        thread converts one request at a time, because a conversion needs memory.
        """
        if size <= _LOOP_BYTES:
            return convert(*arguments)
        if size > _RETURNED_BYTES:
            self._plane.return_memory_later()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._codec, convert, *arguments)

    def _respond(self, method: str, path: str, route: Route | None) -> Response:
        """Respond to a request that is not an inference request."""
        try:
            return self._get(method, path, route)
        except RequestError as error:
            return error_response(error)

    def _get(self, method: str, path: str, route: Route | None) -> Response:
        page = self._pages.get(path.removesuffix("/"))
        if page is not None:
            _check_method(method, _READ_METHODS)
            return page()
        if route is None:
            raise RequestError(
                404,
                f"Path not found: {path[:_MAX_SHOWN_LENGTH]}. See /docs for the available paths.",
            )
        self._check_is_served(route)
        _check_method(method, route.operation.methods)
        return self._operations[route.operation]()

    def _check_is_served(self, route: Route) -> None:
        card = self._plane.model.card
        if route.model not in ("", card.name):
            raise RequestError(
                404,
                f"Unknown model {route.model!r}. This berth serves {card.name!r} at"
                f" {model_path(card.name)}.",
            )
        if route.version not in (None, card.version):
            raise RequestError(
                404,
                f"Unknown version {route.version!r} of model {card.name!r}. This berth serves"
                f" version {card.version!r}.",
            )

    def _readiness(self, message: ServerReady | ModelReady) -> Response:
        return json_response(200 if message.ready else 503, message)


def _internal_error() -> RequestError:
    return RequestError(500, "Internal error in this berth. Look up the request ID in its log.")


def _build_log_fields(
    headers: Mapping[bytes, bytes], request_id: bytes, status: int, seconds: float
) -> dict[str, object]:
    fields: dict[str, object] = {
        "request_id": request_id.decode(),
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
    }
    if headers.get(_SHADOW) == b"1":
        fields["shadow"] = True
    return fields


def _check_method(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise RequestError(
            405,
            f"Method {method} is not allowed. Use {allowed[0]}.",
            {"allow": ", ".join(allowed)},
        )
