"""`berth invoke`: one inference request through the gateway, as a client sends it."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from berth.errors import OperationError
from berth.project import version_directory
from berth_protocol.headers import API_KEY, INFERENCE_HEADER_LENGTH, VERSION
from berth_protocol.paths import infer_path
from pulumi_berth.proxies import is_loopback

if TYPE_CHECKING:
    from berth.spec import HostingSpec

_TIMEOUT_SECONDS = 60.0
_CUSTOM_PATH = re.compile(r"\b(path|container)\b")


@dataclass(frozen=True)
class Request:
    """The body of an inference request.

    Attributes:
        json_length: With the binary tensor data extension, the length of the JSON header in
            `content`. None if `content` is JSON.
        file: File that contains `content`. None if it is in the model card.
    """

    content: bytes
    json_length: int | None = None
    file: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the content."""
        if self.json_length is None:
            return {"content-type": "application/json"}
        return {
            "content-type": "application/octet-stream",
            INFERENCE_HEADER_LENGTH: str(self.json_length),
        }


@dataclass(frozen=True)
class Response:
    """The gateway's response. `body` is the protocol's JSON, or `{"error": ...}`."""

    status: int
    version: str | None
    body: Any


def invoke(
    outputs: Mapping[str, Any],
    model: str,
    request: Request,
    *,
    version: str | None = None,
    client: str | None = None,
) -> Response:
    """Send `request` to `model` with a client's key.

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
            data=request.content,
            headers={**request.headers, API_KEY: key},
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


def read_example(
    root: Path,
    stack: str,
    model: str,
    version: str,
    load_spec: Callable[[], "HostingSpec"],
) -> Request:
    """Return the example of a model version.

    Args:
        load_spec: Loads the stack's specification, which takes longer than the rest of the command.
            It is called only if the specification can name another directory for the version.

    Raises:
        OperationError: If its model card or its example cannot be read.
    """
    from berth_protocol.model_card import CardError, example_body, read_card

    file = root / f"Pulumi.{stack}.yaml"
    path = None
    try:
        has_custom_path = bool(_CUSTOM_PATH.search(file.read_text(errors="replace")))
    except OSError:
        has_custom_path = True
    if has_custom_path:
        entry = load_spec().models[model].versions.get(version)
        if entry is not None and entry.container is not None:
            return _read_container_example(root, model, version, entry.container.example)
        path = entry.path if entry else None
    directory = version_directory(root, model, version, path)
    try:
        card = read_card(directory)
        content, json_length = example_body(directory, card)
    except CardError as error:
        raise OperationError(str(error)) from error
    example_file = directory / card.example_file if card.example_file else None
    return Request(content, json_length, example_file)


def _read_container_example(root: Path, model: str, version: str, example: str | None) -> Request:
    if example is None:
        raise OperationError(
            f"Version {version} of {model} runs in a container, which has no model card with an "
            f"example. Pass a request with --input, or set models.{model}.versions.{version}."
            "container.example."
        )
    try:
        content = (root / example).read_bytes()
    except OSError as error:
        raise OperationError(
            f"Cannot read the example of version {version} of {model}, {root / example}: "
            f"{error.strerror}. Correct container.example."
        ) from error
    return Request(content, None, root / example)


def get_api_key(outputs: Mapping[str, Any], client: str | None, key: str | None = None) -> str:
    """Return an API key of a client.

    Args:
        client: Client name. Defaults to 'default', then the first by name.
        key: Name of the key. Defaults to the newest.

    Raises:
        OperationError: If the client or the key does not exist.
    """
    newest: Mapping[str, str] = outputs["api_keys"]
    if client is None and not newest:
        raise OperationError("No client of this stack has an API key. Clients send tokens.")
    name = client or ("default" if "default" in newest else min(newest))
    # A stack that was deployed by an earlier version of Berth has one key per client.
    keys = outputs.get("client_keys") or {each: {} for each in newest}
    if name not in keys:
        raise OperationError(
            f"Client '{name}' does not exist in this stack. Clients: {', '.join(keys)}."
        )
    if key is None and name in newest:
        return newest[name]
    if key is None or key not in keys[name]:
        wanted = "key" if key is None else f"key '{key}'"
        raise OperationError(
            f"Client '{name}' has no {wanted}. Keys: {', '.join(keys[name]) or 'none'}."
        )
    return str(keys[name][key]["key"])


def list_api_keys(outputs: Mapping[str, Any], client: str | None) -> list[tuple[str, str, str]]:
    """Return the client, the name and the expiry of each key, without the keys."""
    keys: Mapping[str, Mapping[str, Any]] = outputs.get("client_keys") or {}
    return [
        (name, key, f"expires {entry.get('expires') or 'never'}")
        for name, entries in keys.items()
        if client in (None, name)
        for key, entry in entries.items()
    ]
