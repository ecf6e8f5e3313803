"""`berth invoke`: one inference request through the gateway, as a client sends it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.errors import OperationError
from berth.project import version_directory
from berth_protocol.headers import API_KEY, VERSION
from berth_protocol.paths import infer_path
from pulumi_berth.proxies import is_loopback

_TIMEOUT_SECONDS = 60.0
_CUSTOM_PATH = re.compile(r"\bpath\b")


@dataclass(frozen=True)
class Response:
    """The gateway's response. `body` is the protocol's JSON, or `{"error": ...}`."""

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
) -> Response:
    """Send `request`, an Open Inference Protocol body, to `model` with a client's key.

    Args:
        outputs: The stack's outputs, with secrets in plaintext.
        version: Version to call. Defaults to the traffic split.
        client: Client whose key to use. Defaults to 'default', then the first by name.

    Raises:
        OperationError: If the client does not exist or the gateway does not respond.
    """
    # Unlike httpx, requests returns a response that arrives before the whole body was sent.
    import requests

    key = get_api_key(outputs, client)
    endpoint: str = outputs["endpoint"]
    session = requests.Session()
    session.trust_env = not is_loopback(urlsplit(endpoint).netloc)
    try:
        response = session.post(
            endpoint + infer_path(model, version),
            # Not `json=`, which rejects NaN before the gateway can.
            data=json.dumps(request).encode(),
            headers={"content-type": "application/json", API_KEY: key},
            timeout=_TIMEOUT_SECONDS,
            allow_redirects=False,
            verify=os.environ.get("SSL_CERT_FILE") or True,
        )
    except requests.RequestException as error:
        raise OperationError(
            f"No response from {endpoint}: {error or type(error).__name__}. "
            "Run 'berth status' to check the stack or 'berth up' to repair it."
        ) from error
    try:
        body = response.json()
    except ValueError:
        body = {"error": response.content.decode(errors="replace")}
    return Response(response.status_code, response.headers.get(VERSION), body)


def read_example(root: Path, stack: str, model: str, version: str) -> dict[str, Any]:
    """Return the example in the card of a model version."""
    from berth_protocol.model_card import read_card

    file = root / f"Pulumi.{stack}.yaml"
    path = None
    # Loading the specification takes longer than the rest of the command.
    if not file.exists() or _CUSTOM_PATH.search(file.read_text()):
        from berth.spec import load_file

        entry = load_file(file).models[model].versions.get(version)
        path = entry.path if entry else None
    return dict(read_card(version_directory(root, model, version, path)).example)


def get_api_key(outputs: Mapping[str, Any], client: str | None) -> str:
    """Return the API key of a client. Defaults to 'default', then the first by name."""
    keys: Mapping[str, str] = outputs["api_keys"]
    name = client or ("default" if "default" in keys else min(keys))
    if name not in keys:
        raise OperationError(
            f"Client '{name}' does not exist in this stack. Clients: {', '.join(keys)}."
        )
    return keys[name]
