"""Metrics, logs, traces and the API documentation of a berth."""

import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec
import pytest

from berth_protocol.messages import InferenceResponse
from berth_protocol.model_card import digest
from tests.serving.berth import Berth, free_port, run_berth, run_until_exit, wait_until
from tests.serving.test_protocol import REQUEST


def test_metrics_count_requests(echo_model: Path, log: Path) -> None:
    with run_berth(echo_model, log) as berth:
        for _ in range(3):
            berth.infer(REQUEST)
        berth.infer(b"{")
        assert berth.metric("berth_requests_total", 'code="200"') == 3
        assert berth.metric("berth_requests_total", 'code="400"') == 1
        assert berth.metric("berth_request_seconds_count") == 4
        assert berth.metric("berth_inference_seconds_count") == 3
        assert berth.metric("berth_batch_rows_sum") == 6
        assert berth.metric("berth_queue_requests") == 0
        assert berth.metric("berth_in_flight_requests") == 0
        assert berth.metric("berth_model_info", f'digest="{digest(echo_model)}"', 'model="m"') == 1


def test_log_has_request_id_and_no_payload(berth: Berth) -> None:
    secret = "a-name-that-only-the-payload-has"
    berth.infer(
        {"inputs": [{"name": secret, "datatype": "FP32", "shape": [1], "data": [7777]}]},
        headers={"x-request-id": "seen-in-the-log"},
    )
    logged = [line for line in berth.read_log() if line.get("request_id") == "seen-in-the-log"]
    assert [(line["level"], line["status"]) for line in logged] == [("warning", 400)]
    assert secret not in berth.log.read_text()
    assert "7777" not in berth.log.read_text()


def test_every_request_is_logged_and_mirrored_ones_are_marked(berth: Berth) -> None:
    berth.infer(REQUEST, headers={"x-request-id": "plain"})
    berth.infer(REQUEST, headers={"x-request-id": "mirrored", "x-berth-shadow": "1"})
    berth.infer(b"{", headers={"x-request-id": "invalid", "x-berth-shadow": "1"})
    expected = {"plain": (200, None), "mirrored": (200, True), "invalid": (400, True)}

    def read_requests() -> dict[str, tuple[int, bool | None]]:
        return {
            str(line["request_id"]): (line["status"], line.get("shadow"))
            for line in berth.read_log()
            if line.get("request_id") in expected
        }

    wait_until(lambda: read_requests() == expected, "three lines in the log")


def test_docs_page_loads_nothing_from_network(berth: Berth) -> None:
    response = berth.client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert re.findall(r"(?:src|href)=\"(?!/)", response.text) == []
    assert "/v2/models/m/infer" in response.text


def test_openapi_example_and_paths_work(berth: Berth) -> None:
    document = berth.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    infer = document["paths"]["/v2/models/m/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["example"]
    assert berth.infer(example).status_code == 200
    for path, methods in document["paths"].items():
        if "get" in methods:
            assert berth.client.get(path).status_code == 200
    response = berth.infer(REQUEST).content
    assert msgspec.json.decode(response, type=InferenceResponse, strict=True).model_name == "m"
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


class _Collector(ThreadingHTTPServer):
    """An OpenTelemetry collector that keeps the requests that it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.received: list[bytes] = []
        self.has_received = threading.Event()


class _Receive(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert isinstance(self.server, _Collector)
        self.server.received.append(body)
        self.server.has_received.set()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[_Collector]:
    with _Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_traces_reach_collector(echo_model: Path, log: Path, collector: _Collector) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with run_berth(echo_model, log, environment=settings) as berth:
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        assert berth.infer(REQUEST, headers=headers).status_code == 200
        assert collector.has_received.wait(timeout=120)
    assert any(bytes.fromhex(trace) in body for body in collector.received)
    assert any(b"berth-m-1" in body for body in collector.received)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_metrics_port_serves_only_metrics(echo_model: Path, log: Path, workers: int) -> None:
    port = free_port()
    with run_berth(echo_model, log, metrics_port=str(port), workers=str(workers)) as berth:
        berth.infer(REQUEST)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as scraper:
            metrics = scraper.get("/metrics")
            assert metrics.status_code == 200
            assert "berth_requests_total" in metrics.text
            assert scraper.head("/metrics").status_code == 200
            assert scraper.post("/metrics").status_code == 405
            others = ["/v2", "/v2/health/ready", "/v2/models/m", "/docs", "/openapi.json", "/"]
            assert {scraper.get(path).status_code for path in others} == {404}
            # The Host header does not select the port.
            headers = {"host": f"127.0.0.1:{berth.port}"}
            inference = scraper.post("/v2/models/m/infer", json=REQUEST, headers=headers)
            assert inference.status_code == 404
            assert "/metrics" in inference.json()["error"]
        assert berth.client.get("/metrics").status_code == 404


def test_metrics_port_in_use_is_reported(echo_model: Path, log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        status, text = run_until_exit(echo_model, log, metrics_port=str(other.getsockname()[1]))
    assert status == 4
    assert "BERTH_METRICS_PORT" in text
