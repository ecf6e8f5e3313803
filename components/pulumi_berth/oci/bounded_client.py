"""oras's registry client with time limits and Basic authentication, which oras lacks."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from oras.auth.token import TokenAuth
from oras.auth.utils import get_basic_auth
from oras.container import Container
from oras.provider import Registry

_CONNECT_SECONDS = 10.0
# Between two parts of a response. A registry answers an upload when it has stored all of it, such
# as 10 GB in a bucket.
_READ_SECONDS = 30.0
_STORE_SECONDS = 300.0
_SERVER_ERROR = 500
# Registries whose challenge required Basic. The next client sends it with the first request.
_BASIC_HOSTS: set[str] = set()
# Waiting times after the registry failed or closed the connection, in seconds.
_RETRY_PAUSES = (0.5, 2.0, 5.0)


class _Authentication(TokenAuth):  # type: ignore[misc]  # oras has no types.
    """Bearer tokens, or Basic if the registry's challenge requires it.

    With a password, oras requests a token even from a registry that issues none, such as ECR
    (oras-project/oras-py issue 205).

    Attributes:
        host: `host` or `host:port` of the registry.
        basic: Value of the header `Authorization` for all further requests. None for tokens.
    """

    basic: str | None = None

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    def load_login(self, name: str) -> None:
        """Load the login of `docker login` for the repository `name`.

        oras ignores the variable DOCKER_CONFIG, which names the directory of the logins.
        """
        if directory := os.environ.get("DOCKER_CONFIG"):
            path = Path(directory, "config.json")
            known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            self._auth_config = {"auths": {}} | known
        self.load_configs(Container(name))
        if self.host in _BASIC_HOSTS:
            self._use_basic()

    def _use_basic(self) -> None:
        if known := getattr(self, "_basic_auth", None):
            self.basic = f"Basic {known}"
            _BASIC_HOSTS.add(self.host)

    def authenticate_request(
        self, original: requests.Response, headers: dict[str, str], refresh: bool = False
    ) -> tuple[dict[str, str], bool]:
        challenge = original.headers.get("Www-Authenticate", "")
        if challenge.partition(" ")[0].lower() == "bearer":
            result: tuple[dict[str, str], bool] = super().authenticate_request(
                original, headers, refresh
            )
            return result
        if challenge:
            self._use_basic()
        # Repeat the request also without credentials: its response says why it is rejected.
        return {**headers, **self.build_headers()}, True

    def build_headers(self) -> dict[str, str]:
        """Return the header that authenticates a request with Basic."""
        return {"Authorization": self.basic} if self.basic else {}


class BoundedRegistry(Registry):  # type: ignore[misc]  # oras has no types.
    """A registry client whose requests end.

    oras waits without limit for a registry that accepts connections but does not respond, and
    repeats failures for more than two minutes. This client repeats what can be transient, but not
    a timeout.
    """

    def __init__(
        self, *, hostname: str, insecure: bool, login: tuple[str, str] | None = None
    ) -> None:
        """Create a client.

        Args:
            hostname: `host` or `host:port` of the registry.
            insecure: The registry has no TLS.
            login: User and password of a registry that is known to require Basic. They are sent
                with the first request: ECR answers another request with 401 only after it received
                the whole body.
        """
        super().__init__(hostname=hostname, insecure=insecure)
        self.auth = _Authentication(hostname)
        self.auth.session, self.auth.prefix = self.session, self.prefix
        self.auth._tls_verify = self._tls_verify
        if login is not None:
            self.auth.basic = f"Basic {get_basic_auth(*login)}"
        request = self.session.request

        def request_in_time(method: str, url: str, **options: Any) -> requests.Response:
            is_reading = method in ("GET", "HEAD")
            seconds = _READ_SECONDS if is_reading else _STORE_SECONDS
            options.setdefault("timeout", (_CONNECT_SECONDS, seconds))
            response: requests.Response = request(method, url, **options)
            return response

        self.session.request = request_in_time

    def do_request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send one request with oras's authentication.

        Raises:
            requests.RequestException: If the registry does not respond in time or at all.
        """
        for pause in _RETRY_PAUSES:
            try:
                response = self._send(*arguments, **options)
            except requests.Timeout:
                raise
            except requests.ConnectionError:
                pass
            else:
                if response.status_code < _SERVER_ERROR:
                    return response
            time.sleep(pause)
        return self._send(*arguments, **options)

    def _send(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> requests.Response:
        # The location of an upload can be on another host, which must not receive credentials.
        is_own = _get_origin(url) == _get_origin(f"{self.prefix}://{self.hostname}")
        if self.auth.basic or not is_own:
            credentials = self.auth.build_headers() if is_own else {}
            response: requests.Response = self.session.request(
                method,
                url,
                data=data,
                json=json,
                headers={**(headers or {}), **credentials},
                stream=stream,
                verify=self._tls_verify,
            )
            return response
        # The function below the decorator that repeats everything.
        send = Registry.do_request.__wrapped__
        result: requests.Response = send(self, url, method, data, dict(headers or {}), json, stream)
        return result


def _get_origin(url: str) -> tuple[str | None, int]:
    """Return the host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 80}.get(parts.scheme, 443)
