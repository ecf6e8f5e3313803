"""HTTP/1 as uvicorn speaks it, for clients that would rather speak another protocol."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Http1(HttpToolsProtocol):
    """One connection of a client.

    Java's HTTP client wishes to upgrade to HTTP/2 by default. httptools takes what follows such a
    head for that other protocol, so the body would be lost, or read as the next request. The wish
    is not heard: the head is read again without it, and the request answered as HTTP/1.
    """

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("this is not a valid HTTP request")

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise httptools.HttpParserInvalidMethodError("CONNECT") from upgrade
            kept = [(name, value) for name, value in self.headers if name != b"upgrade"]
            version = self.parser.get_http_version().encode()
            head = b"%s %s HTTP/%s\r\n" % (method, self.url, version)
            head += b"".join(b"%s: %s\r\n" % header for header in kept) + b"\r\n"
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head + data[upgrade.args[0] :])
