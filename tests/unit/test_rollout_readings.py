"""What the versions of a model did, from metrics in Prometheus' format."""

import pytest

from berth.operations.rollout.readings import (
    Meter,
    choose_slow_seconds,
    estimate_quantile,
    sum_counts,
)
from berth_gateway.metrics import Metrics as GatewayMetrics
from berth_serving.metrics import Metrics as BerthMetrics


def build_berth(codes: dict[str, int], seconds: list[float], version: str = "2") -> str:
    """Return what a berth reports, in the serving program's own format."""
    metrics = BerthMetrics(None)
    for code, count in codes.items():
        metrics.requests.labels("m", version, code).inc(count)
    for duration in seconds:
        metrics.latency.labels("m", version).observe(duration)
    metrics.info.labels("m", version, "sha256:1", "0", "0", "cpu").set(1)
    return metrics.render().decode()


def test_requests_failures_and_durations_are_counted() -> None:
    meter = Meter("m", {})
    meter.advance({"a": build_berth({"200": 7, "500": 2, "504": 1, "400": 5}, [0.002, 0.002, 0.3])})
    counts = meter.count("2")
    assert (counts.requests, counts.failed) == (10, 3)
    assert counts.timed == 3
    assert counts.count_slower(0.05) == 1
    assert meter.count("1").requests == 0


def test_failovers_count_as_failures_of_the_unhealthy_version() -> None:
    gateway = GatewayMetrics()
    gateway.failovers.labels("m", "2", "1").inc(4)
    gateway.failovers.labels("other", "2", "1").inc(9)
    meter = Meter("m", {})
    meter.advance({"gateway": gateway.render().decode()})
    assert (meter.count("2").requests, meter.count("2").failed) == (4, 4)
    assert meter.count("1").failed == 0


def test_only_what_happens_after_the_first_reading_counts() -> None:
    meter = Meter("m", {"a": build_berth({"200": 100, "500": 50}, [])})
    assert meter.count_before("2").failed == 50
    meter.advance({"a": build_berth({"200": 130, "500": 51}, [])})
    assert (meter.count("2").requests, meter.count("2").failed) == (31, 1)


def test_restarted_missing_and_new_programs_lose_nothing() -> None:
    meter = Meter("m", {"a": build_berth({"200": 100}, [])})
    meter.advance({"a": build_berth({"200": 110}, []), "b": build_berth({"200": 5}, [])})
    meter.advance({"b": build_berth({"200": 6}, [])})  # Program a has ended.
    meter.advance({"a": build_berth({"200": 3}, []), "b": build_berth({"200": 6}, [])})
    assert meter.count("2").requests == 10 + 6 + 3


@pytest.mark.parametrize(
    ("seconds", "percentile", "slow"), [(0.04, 0.05, 0.1), (0.004, 0.005, 0.025)]
)
def test_slow_is_half_above_the_percentile_and_at_least_ten_milliseconds(
    seconds: float, percentile: float, slow: float
) -> None:
    meter = Meter("m", {})
    meter.advance({"a": build_berth({"200": 200}, [seconds] * 198 + [0.2] * 2)})
    counts = meter.count("2")
    assert estimate_quantile(counts, 0.99) == pytest.approx(percentile)
    assert choose_slow_seconds(counts) == slow


def test_without_requests_nothing_is_slow() -> None:
    assert choose_slow_seconds(sum_counts({}, "2")) is None


def test_percentile_beyond_the_last_bound_is_the_last_bound() -> None:
    meter = Meter("m", {})
    meter.advance({"a": build_berth({}, [100.0] * 10)})
    counts = meter.count("2")
    assert choose_slow_seconds(counts) == estimate_quantile(counts, 0.99) == 30.0
