"""Access log and metrics: complete, and without secrets or names that callers choose."""

from datetime import datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import KEY, GatewayProcess, build_config, build_model

INFER = "/v2/models/digits/infer"


@pytest.fixture
def live_gateway(gateway: GatewayProcess, berth_1: FakeBerth) -> GatewayProcess:
    gateway.start(build_config(models={"digits": build_model({"1": berth_1.url}, {"1": 100})}))
    return gateway


def test_access_log_has_one_line_per_request_without_secrets(live_gateway: GatewayProcess) -> None:
    with live_gateway.client() as http:
        http.post(INFER, content=b"payload-1", headers={"x-request-id": "r-1"})
        http.get("/v2/models/none?secret=query-1")
        http.get("/v2/health/ready")
    with live_gateway.client(key="wrong-key-1") as http:
        http.get("/v2")
    live_gateway.stop()
    infer, unknown, unauthenticated = live_gateway.read_access_log()
    assert datetime.fromisoformat(infer.pop("time")).utcoffset() == timedelta(0)
    assert infer.pop("seconds") > 0
    assert infer.pop("response_bytes") > 10
    assert infer == {
        "request_id": "r-1",
        "client": "default",
        "method": "POST",
        "path": INFER,
        "status": 200,
        "model": "digits",
        "version": "1",
        "request_bytes": 9,
    }
    assert (unknown["status"], unknown["model"], unknown["path"]) == (404, None, "/v2/models/none")
    assert (unauthenticated["status"], unauthenticated["client"]) == (401, None)
    output = (live_gateway.directory / "out").read_text() + live_gateway.read_log()
    for secret in (KEY, "wrong-key-1", "payload-1", "query-1"):
        assert secret not in output


def test_log_level_above_info_disables_access_log(gateway: GatewayProcess) -> None:
    gateway.environment["GATEWAY_LOG_LEVEL"] = "warning"
    gateway.start(build_config())
    with gateway.client() as http:
        http.get("/v2")
    gateway.stop()
    assert gateway.read_access_log() == []


def test_metrics_count_requests_and_contain_only_configured_names(
    live_gateway: GatewayProcess,
) -> None:
    with live_gateway.client() as http:
        for _ in range(3):
            http.post(INFER, json={})
        http.get("/v2/models/unknown-model")
    families = {
        f.name: f for f in text_string_to_metric_families(live_gateway.get_admin("/metrics").text)
    }
    requests = {
        tuple(sample.labels.values()): sample.value
        for sample in families["berth_gateway_requests"].samples
        if sample.name.endswith("_total")
    }
    assert requests == {("default", "200", "digits", "1"): 3, ("default", "404", "", ""): 1}
    counts = {
        sample.labels["model"]: sample.value
        for sample in families["berth_gateway_request_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert counts == {"digits": 3, "": 1}
    assert families["berth_gateway_in_flight"].samples[0].value == 0
    assert "unknown-model" not in live_gateway.get_admin("/metrics").text
