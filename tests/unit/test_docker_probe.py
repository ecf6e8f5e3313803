"""The check of a container that has no program for it, from another container."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pulumi_berth.docker import ready_container
from pulumi_berth.docker.container_plan import build_probe_command
from pulumi_berth.docker.engine import EngineError
from pulumi_berth.docker.ready_container import wait_until_ready

_INPUTS: dict[str, Any] = {
    "host": "unix:///x", "container": "0123456789abcdef", "pids": 512, "seconds": 0,
    "image": "sha256:1", "network": "net", "port": 9001,
    "paths": ["/v2/models/shout/versions/1", "/v2/health/ready"],
}  # fmt: skip


class _Container:
    """A container whose commands have prepared results, by the path that they request."""

    def __init__(self, results: dict[str, tuple[int, str]]) -> None:
        self.name, self.status, self.labels = "own", "running", {"berth.hosting": "a/b/c"}
        self.attrs = {"HostConfig": {"PidsLimit": 512}, "RestartCount": 0}
        self.commands: list[list[str]] = []
        self.is_removed = False
        self._results = results

    def exec_run(self, command: list[str]) -> SimpleNamespace:
        self.commands.append(command)
        status, output = self._results[command[-1]]
        return SimpleNamespace(exit_code=status, output=output.encode())

    def logs(self, **_: Any) -> bytes:
        return b"listening"

    def reload(self) -> None:
        """Nothing changes."""

    def remove(self, **_: Any) -> None:
        self.is_removed = True


def _wait(
    monkeypatch: pytest.MonkeyPatch, results: dict[str, tuple[int, str]]
) -> tuple[_Container, dict[str, Any], list[dict[str, Any]]]:
    """Wait for a container, and return the probe, its options and the result in a list."""
    checked, probe = _Container({}), _Container(results)
    options: dict[str, Any] = {}

    def run(image: str, **given: Any) -> _Container:
        options.update(given, image=image)
        return probe

    @contextmanager
    def open_engine(_: str) -> Iterator[Any]:
        yield SimpleNamespace(containers=SimpleNamespace(get=lambda _: checked, run=run))

    monkeypatch.setattr(ready_container, "open_engine", open_engine)
    result: list[dict[str, Any]] = []
    try:
        result.append(wait_until_ready(_INPUTS))
    finally:
        assert probe.is_removed
        assert checked.commands == []
    return probe, options, result


def test_own_container_is_asked_from_a_hardened_container_in_its_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = dict.fromkeys(_INPUTS["paths"], (0, "{}"))
    probe, options, (result,) = _wait(monkeypatch, ready)
    assert result == {"address": "0123456789ab"}
    assert [command[-2:] for command in probe.commands] == [
        ["9001", "/v2/models/shout/versions/1"],
        ["9001", "/v2/health/ready"],
    ]
    assert probe.commands[0][-3] == "0123456789ab"
    assert (options["network"], options["read_only"], options["cap_drop"]) == ("net", True, ["ALL"])
    assert options["user"] == "65532:65532"
    assert options["labels"]["berth.hosting"] == "a/b/c"


@pytest.mark.parametrize(
    ("response", "succeeds", "shown"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", True, b""),
        (b"HTTP/1.0 200 OK\r\n\r\n", True, b""),
        (b'HTTP/1.1 404 Not Found\r\n\r\n{"error": "no such model"}', False, b"no such model"),
        (b"x" * 10_000, False, b"x" * 4096),
        (b"", False, b""),
    ],
)
def test_response_of_a_server_decides_and_little_of_it_is_read(
    response: bytes, succeeds: bool, shown: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = build_probe_command("127.0.0.1", server.getsockname()[1], "/v2/health/ready")
        command[0] = sys.executable
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            connection, _ = server.accept()
            with connection:
                request = connection.recv(4096).decode()
                with contextlib.suppress(ConnectionError):
                    connection.sendall(response)
            assert process.stderr is not None
            output = process.stderr.read()
            assert (process.wait() == 0) == succeeds
    assert request.startswith("GET /v2/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert shown in output
    assert len(output) < 5000


def test_container_that_does_not_know_its_model_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = {"/v2/models/shout/versions/1": (1, '{"error": "no such model"}')}
    with pytest.raises(
        EngineError,
        match=r"not ready within 0 s: GET :9001/v2/models/shout/versions/1: .*no such model.*"
        "listening",
    ):
        _wait(monkeypatch, missing)
