"""A headless Chromium that a test controls through the WebDriver protocol (W3C).

The protocol is HTTP with JSON, and the tests need eight of its commands. The clients on PyPI need
another urllib3 than the client for Kubernetes (Selenium), or bring a second browser driver of 50 MB
(Playwright).
"""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

TAB, ENTER, ESCAPE, RIGHT = "\ue004", "\ue007", "\ue00c", "\ue014"
_SHIFT = "\ue008"
_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
)
_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A browser with one window."""

    client: httpx.Client
    session: str

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self._send("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script as the body of a function, and return its result."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, key: str, *, with_shift: bool = False) -> None:
        """Press and release a key."""
        keys = [_SHIFT, key] if with_shift else [key]
        actions = [
            *({"type": "keyDown", "value": each} for each in keys),
            *({"type": "keyUp", "value": each} for each in reversed(keys)),
        ]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._send("POST", "/actions", {"actions": [source]})

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        """Set the size of the page's viewport in CSS pixels, which can be narrower than a window.

        Args:
            scale: Pixels per CSS pixel, such as 2 for a zoom of 200 %.
        """
        self._call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False},
        )

    def prefer(self, scheme: str) -> None:
        """Set the color scheme that the user prefers: `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", {"features": features})

    def save_screenshot(self, path: Path) -> None:
        """Write a picture of the viewport."""
        path.write_bytes(base64.b64decode(self._send("GET", "/screenshot")))

    def read_console(self) -> list[str]:
        """Return the messages of the console since the last call."""
        entries = self._send("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def read_requests(self) -> list[str]:
        """Return the URLs that were requested since the last call.

        The browser's own pages, which it may load late, and data in a URL reach no server.
        """
        entries = self._send("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("chrome:", "data:"))]

    def wait_for(self, script: str, *arguments: Any, seconds: float = 60.0) -> Any:
        """Return the first true result of a script. Fail if there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            if result := self.run(script, *arguments):
                return result
            assert time.monotonic() < deadline, f"no true result within {seconds} s: {script}"
            time.sleep(0.1)

    def _call(self, command: str, parameters: dict[str, Any]) -> None:
        self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        response = self.client.request(method, f"/session/{self.session}{path}", json=body)
        value = response.json()["value"]
        assert response.status_code == 200, value
        return value


@contextmanager
def open_browser(directory: Path) -> Iterator[Browser]:
    """Start a browser with a new profile in a directory. Skip the test if there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not on the PATH; Debian: chromium-driver")
    port = _find_free_port()
    log = (directory / "driver.log").open("wb")
    with log, subprocess.Popen([driver, f"--port={port}"], stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_SECONDS) as client:
                _wait_until_ready(client)
                capabilities = build_capabilities(chromium, directory, _ARGUMENTS)
                response = client.post("/session", json={"capabilities": capabilities})
                assert response.status_code == 200, response.text
                session = response.json()["value"]["sessionId"]
                yield Browser(client=client, session=session)
                client.delete(f"/session/{session}")
        finally:
            process.terminate()


def build_capabilities(chromium: str, directory: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the driver starts: this browser, with logs of the console and the network."""
    return {
        "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {
                "binary": chromium,
                "args": [*arguments, f"--user-data-dir={directory / 'profile'}"],
            },
        }
    }


def _wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            if client.get("/status").json()["value"]["ready"]:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the browser's driver does not respond"
        time.sleep(0.1)


def _find_free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port
