"""Rates of versions over the last seconds."""

import pytest

from berth.operations.watch.traffic import Traffic
from tests.unit.test_rollout_readings import build_berth

_VERSIONS = [("m", "2")]


def test_rates_are_those_of_the_last_seconds() -> None:
    traffic = Traffic(window_seconds=10)
    codes, seconds = {"200": 1000, "500": 1000}, [4.0] * 100
    traffic.advance(0, _VERSIONS, {"a": build_berth(codes, seconds)})
    assert traffic.get_rates("m", "2") is None
    codes, seconds = {"200": 1090, "500": 1010, "400": 50}, [*seconds, *([0.004] * 100)]
    traffic.advance(5, _VERSIONS, {"a": build_berth(codes, seconds)})
    rates = traffic.get_rates("m", "2")
    assert rates is not None
    assert (rates.per_second, rates.failed_share) == (20, 0.1)
    assert rates.p50_seconds is not None
    assert rates.p99_seconds is not None
    assert rates.p50_seconds < rates.p99_seconds < 0.01


def test_old_requests_leave_the_window() -> None:
    traffic = Traffic(window_seconds=10)
    traffic.advance(0, _VERSIONS, {"a": build_berth({"200": 0}, [])})
    for at in (4, 8, 12, 16, 20):
        traffic.advance(at, _VERSIONS, {"a": build_berth({"200": 100}, [])})
    rates = traffic.get_rates("m", "2")
    assert rates is not None
    assert rates.per_second == 0
    assert rates.failed_share is None
    assert rates.p99_seconds is None


def test_restarted_program_does_not_make_a_negative_rate() -> None:
    traffic = Traffic(window_seconds=10)
    traffic.advance(0, _VERSIONS, {"a": build_berth({"200": 500}, [])})
    traffic.advance(10, _VERSIONS, {"a": build_berth({"200": 30}, [])})
    rates = traffic.get_rates("m", "2")
    assert rates is not None
    assert rates.per_second == 3


def test_version_and_model_that_appear_later_are_counted_from_then_on() -> None:
    traffic = Traffic(window_seconds=10)
    traffic.advance(0, [("m", "1")], {})
    traffic.advance(4, [("m", "1"), ("m", "2"), ("n", "1")], {"a": build_berth({"200": 40}, [])})
    traffic.advance(8, [("m", "1"), ("m", "2"), ("n", "1")], {"a": build_berth({"200": 60}, [])})
    rates = traffic.get_rates("m", "2")
    assert rates is not None
    assert rates.per_second == pytest.approx(5)
    assert traffic.get_rates("absent", "1") is None


def test_version_whose_programs_report_nothing_has_no_rates() -> None:
    """A program can stop, and reading it can need a permission that the user lacks."""
    traffic = Traffic(window_seconds=10)
    text = build_berth({"200": 40}, [])
    for at in (0, 4):
        traffic.advance(at, [("m", "2"), ("m", "1")], {"a": text})
    assert traffic.get_rates("m", "2") is not None
    assert traffic.get_rates("m", "1") is None
    assert (traffic.count_reporters("m", "2"), traffic.count_reporters("m", "1")) == (1, 0)
    traffic.advance(8, _VERSIONS, {})
    assert traffic.get_rates("m", "2") is None
    traffic.advance(12, _VERSIONS, {"a": text})
    assert traffic.get_rates("m", "2") is not None
    traffic.lose()
    assert traffic.get_rates("m", "2") is None


def test_program_that_is_read_later_does_not_add_what_it_counted_before() -> None:
    traffic = Traffic(window_seconds=10)
    traffic.advance(0, _VERSIONS, {"a": build_berth({"200": 0}, [])})
    both = {"a": build_berth({"200": 40}, []), "b": build_berth({"200": 1_000_000}, [])}
    traffic.advance(4, _VERSIONS, both)
    traffic.advance(8, _VERSIONS, both | {"b": build_berth({"200": 1_000_040}, [])})
    rates = traffic.get_rates("m", "2")
    assert rates is not None
    assert rates.per_second == 10
    assert traffic.count_reporters("m", "2") == 2
