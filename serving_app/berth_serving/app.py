"""The protocol over HTTP: a plain ASGI application in front of the data plane."""

import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from berth_protocol.asgi import Message, Receive, Scope, Send, choose_request_id
from berth_protocol.errors import RequestError, overload_error
from berth_protocol.json_logs import RequestLog, log_event
from berth_serving import docs_page, openapi
from berth_serving.data_plane import DataPlane
from berth_serving.metrics import CONTENT_TYPE, Metrics
from berth_serving.response import Headers
from berth_serving.returned import ASKED_BY, returned
from berth_serving.settings import Settings
from berth_serving.tracing import Trace

Answer = tuple[int, Headers, bytes]

_JSON: Headers = [(b"content-type", b"application/json")]
_LOG = logging.getLogger("berth")
_MAX_DIGITS = 19
_MODEL_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?(/|$)")


class App:
    """One worker's ASGI application."""

    def __init__(
        self,
        settings: Settings,
        plane: DataPlane,
        metrics: Metrics,
        trace: Trace | None,
    ) -> None:
        card = plane.model.card
        self._plane = plane
        self._metrics = metrics
        self._token = settings.token
        self._trace = trace
        self._max_body_bytes = settings.max_body_bytes
        self._max_arriving = settings.queue + settings.threads
        self._arriving = 0
        self._request_log = RequestLog() if _LOG.isEnabledFor(logging.INFO) else None
        self._infer_paths = {
            f"/v2/models/{card.name}/infer",
            f"/v2/models/{card.name}/versions/{card.version}/infer",
        }
        self._gets: dict[str, Callable[[], Answer]] = {
            "/v2": lambda: _json(200, plane.server_metadata()),
            "/v2/health/live": lambda: _json(200, {"live": True}),
            "/v2/health/ready": lambda: _json(200 if plane.ready else 503, {"ready": plane.ready}),
            "/metrics": lambda: (200, [(b"content-type", CONTENT_TYPE)], metrics.text()),
            "/openapi.json": lambda: _json(200, openapi.document(plane)),
            "/docs": lambda: (200, docs_page.HEADERS, docs_page.page(openapi.document(plane))),
        }
        for path in (f"/v2/models/{card.name}", f"/v2/models/{card.name}/versions/{card.version}"):
            self._gets[path] = lambda: _json(200, plane.model_metadata())
            self._gets[f"{path}/ready"] = lambda: _json(
                200 if plane.ready else 503, {"name": card.name, "ready": plane.ready}
            )
        # Quoted as in a path: nothing but the card says what a version may look like.
        self._version = (b"x-berth-version", quote(card.version).encode())
        self._names = names = (card.name, card.version)
        self._answered = metrics.requests.labels(*names, "200")
        self._latency = metrics.latency.labels(*names)
        self._in_flight = metrics.in_flight.labels(*names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = choose_request_id(scope["headers"])
        if scope["path"] in self._infer_paths and scope["method"] == "POST":
            status, answer_headers, body = await self._infer(headers, request_id, receive)
        else:
            status, answer_headers, body = self._other(scope)
        if not self._plane.ready:
            answer_headers = [*answer_headers, (b"connection", b"close")]
        head = [*answer_headers, (b"content-length", str(len(body)).encode())]
        if scope["path"].startswith("/v2/models/"):
            head.append(self._version)
        if headers.keys().isdisjoint(ASKED_BY):
            head.append((b"x-request-id", request_id))
        else:
            head += ({b"x-request-id": request_id} | returned(headers)).items()
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send(
            {
                "type": "http.response.body",
                "body": b"" if scope["method"] == "HEAD" else body,
            }
        )

    async def _infer(
        self, headers: Mapping[bytes, bytes], request_id: bytes, receive: Receive
    ) -> Answer:
        started = time.perf_counter()
        self._in_flight.inc()
        if self._trace is None:
            answer = await self._predicted(headers, request_id, receive)
        else:
            text = {k.decode("latin-1"): v.decode("latin-1") for k, v in headers.items()}
            with self._trace(text) as tell:
                answer = await self._predicted(headers, request_id, receive)
                tell(answer[0])
        status = answer[0]
        self._in_flight.dec()
        seconds = time.perf_counter() - started
        self._latency.observe(seconds)
        shadow = headers.get(b"x-berth-shadow") == b"1"
        if status == 200:
            self._answered.inc()
            if self._request_log is not None:
                self._request_log.write(
                    level="info",
                    message="answered",
                    request_id=request_id.decode(),
                    status=200,
                    milliseconds=round(seconds * 1000, 3),
                    **({"shadow": True} if shadow else {}),
                )
        else:
            self._metrics.requests.labels(*self._names, str(status)).inc()
            log_event(
                _LOG,
                logging.WARNING if status < 500 else logging.ERROR,
                "refused",
                request_id=request_id.decode(),
                status=status,
                milliseconds=round(seconds * 1000, 3),
                **({"shadow": True} if shadow else {}),
            )
        return answer

    async def _predicted(
        self, headers: Mapping[bytes, bytes], request_id: bytes, receive: Receive
    ) -> Answer:
        try:
            if self._token is not None and not hmac.compare_digest(
                headers.get(b"x-berth-token", b""), self._token
            ):
                raise RequestError(401, "ask through the gateway: this berth answers it alone")
            body = await self._body(headers, receive)
            answer_headers, answer = await self._plane.infer(body, _json_bytes(headers, body))
        except RequestError as error:
            extra = [(name.encode(), value.encode()) for name, value in error.headers.items()]
            status, base, message = _json(error.status, {"error": str(error)})
            return status, [*base, *extra], message
        except Exception:
            # Ours: told to the log, where the trace belongs, and not to the client.
            logging.getLogger("berth").exception(
                "failed", extra={"fields": {"request_id": request_id.decode()}}
            )
            return _json(500, {"error": "this berth failed; its log has the request id"})
        return 200, answer_headers, answer

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The request's body, never more than the limit in memory.

        Raises:
            RequestError: 413 when it is longer, 408 when it is not whole, 415 when compressed.
        """
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestError(415, "content-encoding is not supported: send the body as it is")
        if int(headers.get(b"content-length", b"0")) > self._max_body_bytes:
            raise self._too_long()
        message = await receive()
        if message.get("more_body"):
            return await self._rest_of_body(message, receive)
        if message["type"] == "http.disconnect":
            raise _not_whole()
        body: bytes = message.get("body", b"")
        if len(body) > self._max_body_bytes:
            raise self._too_long()
        return body

    async def _rest_of_body(self, message: Message, receive: Receive) -> bytes:
        """A body in several parts; only so many arrive at once, since they take memory."""
        if self._arriving >= self._max_arriving:
            raise overload_error(f"{self._arriving} bodies are arriving already")
        self._arriving += 1
        try:
            body = bytearray(message.get("body", b""))
            while message.get("more_body"):
                message = await receive()
                body += message.get("body", b"")
                if len(body) > self._max_body_bytes:
                    raise self._too_long()
        finally:
            self._arriving -= 1
        if message["type"] == "http.disconnect":
            raise _not_whole()
        return bytes(body)

    def _too_long(self) -> RequestError:
        return RequestError(413, f"the body is longer than {self._max_body_bytes} bytes")

    def _other(self, scope: Scope) -> Answer:
        path, method = scope["path"].rstrip("/"), scope["method"]
        get = self._gets.get(path)
        if get is None and path not in self._infer_paths:
            return _json(404, {"error": self._unknown(path)})
        allowed = ("GET", "HEAD") if get is not None else ("POST",)
        if get is None or method not in allowed:
            status, headers, body = _json(
                405, {"error": f"{method} is not for {path}; use {allowed[0]}"}
            )
            return status, [*headers, (b"allow", ", ".join(allowed).encode())], body
        return get()

    def _unknown(self, path: str) -> str:
        card = self._plane.model.card
        named = _MODEL_PATH.match(path)
        if named and named["model"] != card.name:
            return f"unknown model {named['model']!r}; this berth serves {card.name!r}"
        if named and named["version"] not in (None, card.version):
            return (
                f"unknown version {named['version']!r} of {card.name!r}; "
                f"this berth serves {card.version!r}"
            )
        return f"nothing is at {path}; /docs lists what there is"


def _json(status: int, message: Mapping[str, Any]) -> Answer:
    return status, _JSON, orjson.dumps(message)


def _not_whole() -> RequestError:
    return RequestError(408, "the client left, or was too slow, before its body was whole")


def _json_bytes(headers: Mapping[bytes, bytes], body: bytes) -> int | None:
    """What the binary extension's header says, held against the body."""
    text = headers.get(b"inference-header-content-length")
    if text is None:
        return None
    # Python does not read a number of thousands of digits.
    if not text.isdigit() or len(text) > _MAX_DIGITS or int(text) > len(body):
        raise RequestError(
            400,
            "Inference-Header-Content-Length must be a whole number, "
            f"not more than the body's {len(body)} bytes",
        )
    return int(text)
