"""Memory of a stack's containers before, during and after requests that try to occupy it.

The stack runs on a cluster with the limits that it ships with; docs/measurements/serving-memory.md
states its models. Every figure is the resident memory of the container's main process.

Usage: python -m benchmarks.container_memory ENDPOINT KEY NAMESPACE [NODE_COMMAND...]

NODE_COMMAND runs a command on the cluster's only node as root, such as `ssh node` or `cluster enter
--`. kubectl uses KUBECONFIG.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_MIB = 1 << 20
_BODY_BYTES = 10 * _MIB
_SETTLE_SECONDS = 4.0
_TOKEN_NAMES = ("input_ids", "attention_mask", "token_type_ids")
_IMAGE = (3, 224, 224)
_SENTENCE = "The ship left the port in the morning, and the crew sang. "

# Runs on the node. It prints the first process of each pod with its memory in KiB, and sets the
# peaks back to the current values: https://docs.kernel.org/filesystems/proc.html (clear_refs).
_READ_MEMORY = """
import json, pathlib, re, sys
uids, found = sys.argv[2:], {}
for entry in sorted(pathlib.Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
    try:
        groups = (entry / "cgroup").read_text().replace("_", "-")
        status = (entry / "status").read_text()
        command = (entry / "cmdline").read_bytes()
    except OSError:
        continue
    uid = next((uid for uid in uids if uid in groups), None)
    if uid is None or uid in found or b"pause" in command or b"init" in command:
        continue
    found[uid] = [int(re.search(name + r":\\s+(\\d+)", status)[1]) for name in ("VmRSS", "VmHWM")]
    if sys.argv[1] == "reset":
        (entry / "clear_refs").write_text("5")
print(json.dumps(found))
"""


@dataclass(frozen=True)
class _Stack:
    url: SplitResult
    key: str
    namespace: str
    node_command: list[str]

    def infer(self, model: str, body: bytes, **headers: str) -> int | str:
        """Return the status of an inference request, or the name of the exception."""
        connection = http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=120)
        sent = {"x-api-key": self.key, "content-type": "application/json", **headers}
        try:
            connection.request("POST", f"/v2/models/{model}/infer", body, sent)
            response = connection.getresponse()
            response.read()
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()
        return response.status

    def infer_together(self, model: str, body: bytes, count: int, **headers: str) -> str:
        with ThreadPoolExecutor(count) as pool:
            runs = [pool.submit(self.infer, model, body, **headers) for _ in range(count)]
        return _summarize(run.result() for run in runs)

    def read_pods(self) -> dict[str, tuple[str, int]]:
        """Return the name and the restarts of each running pod, by its UID."""
        command = ["kubectl", "-n", self.namespace, "get", "pods", "-o", "json"]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        return {
            pod["metadata"]["uid"]: (
                pod["metadata"]["name"].rsplit("-", 2)[0],
                sum(each["restartCount"] for each in pod["status"]["containerStatuses"]),
            )
            for pod in json.loads(output)["items"]
            if "deletionTimestamp" not in pod["metadata"]
        }

    def read_memory(self, *, reset: bool = False) -> dict[str, tuple[float, float]]:
        """Return the memory and its peak in MiB, by the name of the pod's Deployment."""
        pods = self.read_pods()
        mode = "reset" if reset else "read"
        command = [*self.node_command, "python3", "-c", _READ_MEMORY, mode, *pods]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        return {
            pods[uid][0]: (resident / 1024, peak / 1024)
            for uid, (resident, peak) in json.loads(output).items()
        }


def _summarize(results: Iterator[int | str]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in Counter(results).items())


def _fill(start: str, item: str, end: str, size: int = _BODY_BYTES) -> bytes:
    """Return a body that repeats `item` up to a size."""
    count = (size - len(start) - len(end)) // (len(item) + 1)
    return (start + ",".join([item] * count) + end).encode()


def _send_trailers(stack: _Stack, size: int) -> str:
    """Send a complete chunked body, and trailers of `size` bytes."""
    address = (stack.url.hostname or "", stack.url.port or 80)
    head = (
        "POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        f"x-api-key: {stack.key}\r\n\r\n2\r\n{{}}\r\n0\r\n"
    )
    with socket.create_connection(address, 60) as connection:
        line = b"x-trailer: " + b"y" * 4000 + b"\r\n"
        with suppress(OSError):
            connection.sendall(head.encode())
            for _ in range(size // len(line)):
                connection.sendall(line)
            connection.sendall(b"\r\n")
        try:
            return connection.recv(64).split(b"\r\n")[0].decode() or "closed"
        except OSError as error:
            return type(error).__name__


def _hold_uploads(stack: _Stack, count: int, size: int) -> str:
    """Send all but the last byte of many bodies at once, and hold them for some seconds."""
    head = (
        f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n"
        f"x-api-key: {stack.key}\r\n\r\n"
    )
    address = (stack.url.hostname or "", stack.url.port or 80)

    def send(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(head.encode() + b"0" * (size - 1))

    with ExitStack() as cleanup, ThreadPoolExecutor(count) as pool:
        connections = [
            cleanup.enter_context(socket.create_connection(address, 15)) for _ in range(count)
        ]
        list(pool.map(send, connections))
        time.sleep(_SETTLE_SECONDS)
        statuses: list[int | str] = []
        for connection in connections:
            connection.setblocking(False)
            try:
                statuses.append(connection.recv(64).split(b" ")[1].decode())
            except OSError:
                statuses.append("waiting")
    return _summarize(iter(statuses))


def _tokens(rows: int, tokens: int) -> bytes:
    data = "[" + ",".join(["1"] * (rows * tokens)) + "]"
    inputs = [
        f'{{"name":"{name}","datatype":"INT64","shape":[{rows},{tokens}],"data":{data}}}'
        for name in _TOKEN_NAMES
    ]
    return f'{{"inputs":[{",".join(inputs)}]}}'.encode()


def _texts(rows: int) -> bytes:
    data = [_SENTENCE * 40] * rows
    tensor = {"name": "text", "datatype": "BYTES", "shape": [rows], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def _images(count: int) -> tuple[bytes, dict[str, str]]:
    """Return a binary body; JSON of an image takes several times as much."""
    size = 4 * count * _IMAGE[0] * _IMAGE[1] * _IMAGE[2]
    tensor = {
        "name": "images",
        "datatype": "FP32",
        "shape": [count, *_IMAGE],
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + bytes(size), {"inference-header-content-length": str(len(head))}


def _send_largest(stack: _Stack, model: str, build: Callable[[int], bytes]) -> str:
    """Send ten requests at once with as many rows as the model accepts."""
    sizes = (1024, 512, 256, 128, 96, 64, 48, 32, 24, 16, 8, 4, 2, 1)
    largest = next((rows for rows in sizes if stack.infer(model, build(rows)) == 200), 0)
    together = stack.infer_together(model, build(largest), 10) if largest else "none accepted"
    return f"{largest} rows: {together}"


def _list_cases(stack: _Stack) -> Iterator[tuple[str, str, Callable[[], str | int]]]:
    """Yield the name of each case, the Deployment that it tries to exhaust, and what it sends."""

    def send(model: str, body: bytes, **headers: str) -> Callable[[], str | int]:
        return lambda: stack.infer(model, body, **headers)

    start = '{"inputs":[{"name":"input","datatype":"FP32","shape":[1,64],"data":['
    end = "]}]}"
    yield "10 MiB of `[],`", "digits-1", send("digits", _fill(start, "[]", end))
    yield "10 MiB of `[1],`", "digits-1", send("digits", _fill(start, "[1]", end))
    yield "5 million integers", "digits-1", send("digits", _fill(start, "1", end))
    outputs = _fill('{"inputs":[],"outputs":[', '{"name":"o"}', "]}", 300_000 * 13)
    yield "300,000 outputs", "digits-1", send("digits", outputs)
    one_input = '{"name":"i","datatype":"FP32","shape":[1],"data":[1]}'
    inputs = _fill('{"inputs":[', one_input, "]}", 100_000 * (len(one_input) + 1))
    yield "100,000 inputs", "digits-1", send("digits", inputs)
    yield "60 MB of trailers", "gateway", lambda: _send_trailers(stack, 60_000_000)
    yield "40 unfinished uploads of 10 MB", "gateway", lambda: _hold_uploads(stack, 40, 10_000_000)
    yield "a body of 300 MB", "gateway", send("digits", b"0" * (300 << 20))
    yield "tokens [1024, 512]", "tokens-1", send("tokens", _tokens(1024, 512))
    yield "tokens [128, 128]", "tokens-1", send("tokens", _tokens(128, 128))
    yield (
        "ten of the largest [rows, 128]",
        "tokens-1",
        lambda: _send_largest(stack, "tokens", lambda rows: _tokens(rows, 128)),
    )
    yield "1,024 long texts", "minilm-1", send("minilm", _texts(1024))
    yield (
        "ten of the largest requests of long texts",
        "minilm-1",
        lambda: _send_largest(stack, "minilm", _texts),
    )
    body, headers = _images(17)
    yield (
        "ten of the longest requests of images",
        "cnn-1",
        lambda: stack.infer_together("cnn", body, 10, **headers),
    )


def main() -> None:
    """Send every case, and print a table in Markdown."""
    endpoint, key, namespace, *node_command = sys.argv[1:]
    stack = _Stack(urlsplit(endpoint), key, namespace, node_command)
    print("| case | response | container | before | peak | after | peak of Traefik, gateway |")
    print("|---|---|---|---|---|---|---|")
    for name, target, send in _list_cases(stack):
        stack.read_memory(reset=True)
        before = stack.read_memory()[target][0]
        response = send()
        peak = stack.read_memory()
        time.sleep(_SETTLE_SECONDS)
        after = stack.read_memory()[target][0]
        print(
            f"| {name} | {response} | {target} | {before:.0f} | {peak[target][1]:.0f} |"
            f" {after:.0f} | {peak['traefik'][1]:.0f}, {peak['gateway'][1]:.0f} |",
            flush=True,
        )
    restarts = {pod: count for pod, count in stack.read_pods().values() if count}
    print(f"\nRestarts: {restarts or 'none'}")


if __name__ == "__main__":
    main()
