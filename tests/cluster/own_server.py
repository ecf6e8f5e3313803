"""A server of the Open Inference Protocol without Berth's code, as a user's own container has it.

It serves version 1 of the model `shout`: text in, the same text in upper case out. On SIGTERM, it
finishes its requests.
"""

import json
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

PORT = 9001
MARK = ""
MODEL = "/v2/models/shout"
METADATA: dict[str, Any] = {
    "name": "shout",
    "versions": ["1"],
    "platform": "own",
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [{"name": "loud", "datatype": "BYTES", "shape": [-1]}],
}
PAGES: dict[str, dict[str, Any]] = {
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    **{
        f"{MODEL}{version}{page}": content
        for version in ("", "/versions/1")
        for page, content in (("", METADATA), ("/ready", {"name": "shout", "ready": True}))
    },
}


_changed = Condition()
_running = 0


def _finish() -> None:
    with _changed:
        _changed.wait_for(lambda: _running == 0)
    os._exit(0)


class Handler(BaseHTTPRequestHandler):
    """Answers the paths of the protocol."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self._send(200 if page else 404, page or {"error": "Path not found."})

    def do_POST(self) -> None:
        global _running
        with _changed:
            _running += 1
        try:
            self._infer()
        finally:
            with _changed:
                _running -= 1
                _changed.notify_all()

    def _infer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        (tensor,) = body["inputs"]
        loud = [text.upper() + MARK for text in tensor["data"]]
        output = {"name": "loud", "datatype": "BYTES", "shape": [len(loud)], "data": loud}
        self._send(200, {"model_name": "shout", "model_version": "1", "outputs": [output]})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=_finish).start())
    ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
