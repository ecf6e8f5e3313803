"""`berth invoke`: one inference request through the gateway, as a client makes it."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from berth.errors import OperationError
from berth_protocol.headers import API_KEY, VERSION
from berth_protocol.paths import infer_path

_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """The gateway's answer. `body` is the protocol's JSON, an `{"error": ...}` when refused."""

    status: int
    version: str | None
    body: Any


def invoke(
    outputs: Mapping[str, Any],
    model: str,
    request: Mapping[str, Any],
    *,
    version: str | None = None,
    client: str | None = None,
) -> Answer:
    """Send `request`, an Open Inference Protocol body, to `model` with a client's key.

    Args:
        outputs: the stack's outputs, secrets in clear.
        version: asks for that version; otherwise the traffic split decides.
        client: whose key; otherwise that of `default`, or of the first client by name.

    Raises:
        OperationError: no such client, or no HTTP answer.
    """
    path = infer_path(model, version)
    http_request = urllib.request.Request(  # noqa: S310 - the stack's own endpoint
        outputs["endpoint"] + path,
        data=json.dumps(request).encode(),
        headers={
            "content-type": "application/json",
            API_KEY: key_of(outputs, client),
        },
    )
    try:
        with urllib.request.urlopen(http_request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            return _answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return _answer(error.code, error.headers, error.read())
    except OSError as error:
        raise OperationError(
            f"no answer from {outputs['endpoint']}: {error}; `berth status` tells what runs, "
            "`berth up` mends it"
        ) from error


def key_of(outputs: Mapping[str, Any], client: str | None) -> str:
    """The API key of `client`; without a name, of the client `default`, else of the first."""
    keys: Mapping[str, str] = outputs["api_keys"]
    name = client or ("default" if "default" in keys else min(keys))
    if name not in keys:
        raise OperationError(f"no client {name!r} in this stack; there are: {', '.join(keys)}")
    return keys[name]


def _answer(status: int, headers: Message, body: bytes) -> Answer:
    try:
        decoded = json.loads(body)
    except ValueError:
        decoded = {"error": body.decode(errors="replace")}
    return Answer(status, headers.get(VERSION), decoded)
