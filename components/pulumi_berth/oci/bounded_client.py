"""oras's registry client with a time limit for every response, which oras lacks."""

import time
from typing import Any

import requests
from oras.provider import Registry

_CONNECT_SECONDS = 10.0
# Between two parts of a response. A registry answers an upload when it has stored all of it, such
# as 10 GB in a bucket.
_READ_SECONDS = 30.0
_STORE_SECONDS = 300.0
_SERVER_ERROR = 500
# Waiting times after the registry failed or closed the connection, in seconds.
_RETRY_PAUSES = (0.5, 2.0, 5.0)


class BoundedRegistry(Registry):  # type: ignore[misc]  # oras has no types.
    """A registry client whose requests end.

    oras waits without limit for a registry that accepts connections but does not respond, and
    repeats failures for more than two minutes. This client repeats what can be transient, but not
    a timeout.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
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
        # The function below the decorator that repeats everything.
        send = Registry.do_request.__wrapped__
        for pause in _RETRY_PAUSES:
            try:
                response: requests.Response = send(self, *arguments, **options)
            except requests.Timeout:
                raise
            except requests.ConnectionError:
                pass
            else:
                if response.status_code < _SERVER_ERROR:
                    return response
            time.sleep(pause)
        last: requests.Response = send(self, *arguments, **options)
        return last
