"""Guards that read a monitoring system: Prometheus itself, and CloudWatch of the emulator."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.rollout.query import Query, QueryWatch, parse_queries
from berth.operations.rollout.query_sources import (
    CloudWatch,
    Prometheus,
    open_sources,
    parse_answer,
    parse_metric,
)

_QUERY = Query(source="prometheus", text="up", comparison="<", limit=5)


def test_condition_is_parsed_and_compared() -> None:
    [query] = parse_queries("prometheus", [("sum(rate(errors[1m]))", "<= 0.5")])
    assert (query.comparison, query.limit) == ("<=", 0.5)
    assert query.is_met(0.5)
    assert not query.is_met(0.6)
    assert not query.is_met(float("nan"))


@pytest.mark.parametrize("condition", ["0.5", "< x", "== 1", "<", "< 1 or > 2"])
def test_condition_without_a_comparison_is_rejected(condition: str) -> None:
    with pytest.raises(OperationError, match=r"Use the form '< 0\.05'"):
        parse_queries("prometheus", [("up", condition)])


def test_step_waits_for_a_value_and_reports_a_violation() -> None:
    values: list[float | None] = [None, 1.0, 7.0]
    watch = QueryWatch([_QUERY], lambda _query, _since: values.pop(0), since=0)
    good = []
    for expected in (["up has no value yet"], None, None):
        watch.advance()
        good.append(watch.is_good)
        assert expected is None or watch.describe() == expected
    assert good == [False, True, False]
    assert watch.find_violated() == ["the value of 'up' is 7, not < 5"]


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"resultType": "scalar", "result": [1.0, "2.5"]}, 2.5),
        ({"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "3"]}]}, 3.0),
        ({"resultType": "vector", "result": []}, None),
    ],
)
def test_answer_has_one_value_or_none(document: Any, value: float | None) -> None:
    text = json.dumps({"status": "success", "data": document}).encode()
    assert parse_answer(_QUERY, 200, text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"status": "error", "error": "parse error"}', "rejected the query 'up': parse error"),
        (b"<html>", "did not answer the query 'up' as its API describes: status 200"),
        (b"[" * 100_000, "did not answer"),
        (b" " * ((1 << 20) + 1), "did not answer"),
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
            "returns a matrix",
        ),
        (
            b'{"status":"success","data":{"resultType":"vector","result":'
            b'[{"value":[1,"1"]},{"value":[1,"1"]}]}}',
            "returns 2 series",
        ),
    ],
)
def test_unusable_answer_is_an_error(text: bytes, message: str) -> None:
    with pytest.raises(OperationError, match=message):
        parse_answer(_QUERY, 200, text)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "BERTH_PROMETHEUS_URL is not the base URL"),
        ({"BERTH_PROMETHEUS_URL": "ftp://x"}, "is not the base URL"),
        ({"BERTH_PROMETHEUS_URL": "http://user:pass@x"}, "is not the base URL"),
        (
            {"BERTH_PROMETHEUS_URL": "http://prom.example", "BERTH_PROMETHEUS_TOKEN": "t"},
            "without TLS",
        ),
    ],
)
def test_unusable_address_is_an_error(environment: dict[str, str], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        Prometheus.open(environment)


def test_token_reaches_the_server_and_redirects_are_not_followed() -> None:
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.headers["authorization"])
            self.send_response(302)
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        environment = {"BERTH_PROMETHEUS_URL": url, "BERTH_PROMETHEUS_TOKEN": "secret"}
        with pytest.raises(OperationError, match="status 302") as caught:
            open_sources(environment)(_QUERY, 0)
        server.shutdown()
        thread.join()
    assert seen == ["Bearer secret"]
    assert "secret" not in str(caught.value)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """A running Prometheus server, which reads its own metrics."""
    if shutil.which("prometheus") is None:
        pytest.skip("the program `prometheus` is not on the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: own\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    )
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_query_is_read_from_a_real_server(prometheus: str) -> None:
    read = Prometheus(prometheus).read

    def wait_for_value(text: str) -> float:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                query = Query(source="prometheus", text=text, comparison="<", limit=1)
                if (value := read(query, 0)) is not None:
                    return value
            except OperationError:
                pass  # It starts.
            time.sleep(0.2)
        raise AssertionError(text)

    assert wait_for_value("sum(up)") == 1.0
    assert wait_for_value("1 + 1") == 2.0
    missing = Query(source="prometheus", text="missing_metric", comparison="<", limit=1)
    assert read(missing, 0) is None
    with pytest.raises(OperationError, match="rejected the query"):
        read(Query(source="prometheus", text="sum(", comparison="<", limit=1), 0)


def test_metric_is_read_from_cloudwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    text = "Shop Orders Sum Stage=prod 'Kind=new ones'"
    query = Query(source="cloudwatch", text=text, comparison=">", limit=1)
    with mock_aws():
        client = boto3.client("cloudwatch", region_name="eu-central-1")
        client.put_metric_data(
            Namespace="Shop",
            MetricData=[
                {
                    "MetricName": "Orders",
                    "Value": 3.0,
                    # The emulator leaves out the second in which a query is made.
                    "Timestamp": datetime.now(UTC) - timedelta(seconds=5),
                    "Dimensions": parse_metric(text)["Metric"]["Dimensions"],
                }
            ],
        )
        read = CloudWatch(client).read
        assert read(query, time.time() - 300) == 3.0
        # A minute that began before the step says nothing about it.
        assert read(query, time.time() + 300) is None


def test_incomplete_metric_is_rejected() -> None:
    with pytest.raises(OperationError, match="state namespace, metric, statistic"):
        parse_metric("AWS/ApiGateway Latency")
