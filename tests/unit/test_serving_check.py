"""The check at the end of an update: readiness, and a request to every model."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from berth.errors import OperationError
from berth.operations import serving_check
from berth.operations.serving_check import find_failed, find_unready, request_examples
from berth.spec import HostingSpec, load_file
from tests.repository import REPOSITORY


def _observed(*states: str, gateway: str = "ready") -> dict[str, Any]:
    versions = {str(number): {"state": state} for number, state in enumerate(states, start=1)}
    return {"gateway": gateway, "models": {"digits": {"versions": versions}}}


def _find_unready(*observations: dict[str, Any] | Exception, seconds: float = 60) -> list[str]:
    remaining: Iterator[dict[str, Any] | Exception] = iter(observations)
    last = observations[-1]

    def observe() -> dict[str, Any]:
        result = next(remaining, last)
        if isinstance(result, Exception):
            raise result
        return result

    return find_unready(observe, seconds=seconds, sleep=lambda _: None)


def test_stack_that_becomes_ready_is_waited_for() -> None:
    observations: list[dict[str, Any] | Exception] = [
        _observed("not ready", gateway="not ready"),
        OperationError("the cluster did not respond"),
        _observed("not ready", "cold"),
        _observed("ready", "cold"),
    ]
    assert _find_unready(*observations) == []


def test_pods_of_the_old_generation_are_not_enough_for_an_update() -> None:
    assert _find_unready(_observed("ready", "not ready"), seconds=0) == [
        "digits version 2: not ready"
    ]


def test_crash_loop_is_not_waited_out() -> None:
    """The time limit of 60 s is not reached, because waiting takes no time in this test."""
    failed = _find_unready(_observed("CrashLoopBackOff", "ready"), seconds=1e9)
    assert failed == ["digits version 1: CrashLoopBackOff"]


def test_stack_that_cannot_be_inspected_is_not_ready() -> None:
    assert _find_unready(OperationError("no cluster"), seconds=0) == [
        "the stack: could not be inspected: no cluster"
    ]


def test_only_hosts_that_the_update_skipped_may_be_unreachable() -> None:
    observed = _observed("host unreachable", gateway="host unreachable")
    assert find_unready(lambda: observed, seconds=0, skips_unreachable=True) == []
    assert len(find_unready(lambda: observed, seconds=0)) == 2
    observed = _observed("host unreachable", "not ready")
    problems = find_unready(lambda: observed, seconds=0, skips_unreachable=True)
    assert problems == ["digits version 2: not ready"]


@pytest.fixture
def spec() -> HostingSpec:
    return load_file(REPOSITORY / "Pulumi.local.yaml")


_OUTPUTS = {"endpoint": "http://127.0.0.1:1", "api_keys": {"default": "k" * 24}}


def _respond(monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int]) -> list[str]:
    monkeypatch.setattr(serving_check, "_RESPONSE_SECONDS", 0.0)
    urls: list[str] = []

    def post(_session: requests.Session, url: str, **_options: Any) -> requests.Response:
        urls.append(url)
        response = requests.Response()
        response.status_code = next(s for model, s in statuses.items() if model in url)
        response.raw = io.BytesIO(b'{"error": "x"}')
        return response

    monkeypatch.setattr(requests.Session, "post", post)
    return urls


@pytest.mark.parametrize("status", [404, 500, 502, 503, 504])
def test_model_that_does_not_answer_fails_the_update(
    spec: HostingSpec, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Also if it is not the first model of the stack."""
    _respond(monkeypatch, {"digits": 200, "breast-cancer": status})
    responses = request_examples(REPOSITORY, "local", spec, _OUTPUTS)
    (failed,) = find_failed(responses)
    assert failed.startswith(f"breast-cancer: a request with its example got {status}")


@pytest.mark.parametrize("status", [200, 429])
def test_model_that_answers_or_limits_its_client_serves(
    spec: HostingSpec, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    _respond(monkeypatch, {"digits": status, "breast-cancer": status})
    assert find_failed(request_examples(REPOSITORY, "local", spec, _OUTPUTS)) == []


def test_model_that_no_client_with_a_key_may_call_is_not_requested(
    spec: HostingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = spec.gateway.clients["default"].model_copy(update={"models": ["digits"]})
    gateway = spec.gateway.model_copy(update={"clients": {"default": client}})
    limited = spec.model_copy(update={"gateway": gateway})
    urls = _respond(monkeypatch, {"digits": 200})
    assert list(request_examples(REPOSITORY, "local", limited, _OUTPUTS)) == ["digits"]
    assert len(urls) == 1
    without_keys = {**_OUTPUTS, "api_keys": {}}
    assert request_examples(REPOSITORY, "local", limited, without_keys) == {}


def test_gateway_that_does_not_respond_is_an_error(
    spec: HostingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_check, "_RESPONSE_SECONDS", 0.0)

    def post(*_arguments: Any, **_options: Any) -> requests.Response:
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(requests.Session, "post", post)
    with pytest.raises(OperationError, match=r"No response from http://127\.0\.0\.1:1"):
        request_examples(REPOSITORY, "local", spec, _OUTPUTS)
