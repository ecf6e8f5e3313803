"""Metric filters of the API's access log."""

from fnmatch import fnmatchcase
from typing import Any

import pytest

from pulumi_berth.aws.access_log_plan import AccessLogFields, MetricFilter, access_log_filters

_FIELDS = AccessLogFields(path="uri", status="code", latency="took")
_OPERATORS = {
    "=": lambda actual, expected: actual == expected,
    "!=": lambda actual, expected: actual != expected,
    ">=": lambda actual, expected: actual >= expected,
}


def _matches(pattern: str, line: dict[str, Any]) -> bool:
    """Evaluate a CloudWatch Logs pattern, for the syntax that the plan uses."""
    return all(
        any(_holds(condition, line) for condition in part.split(" || "))
        for part in pattern.strip("{ }").split(" && ")
    )


def _holds(condition: str, line: dict[str, Any]) -> bool:
    field, operator, expected = condition.strip("()").split(" ")
    actual = line[field.removeprefix("$.")]
    if expected.startswith('"'):
        return fnmatchcase(actual, expected.strip('"'))
    result: bool = _OPERATORS[operator](actual, int(expected))
    return result


def _matching_metrics(line: dict[str, Any]) -> set[str]:
    filters = access_log_filters("prod", ["digits", "texts"], _FIELDS)
    return {f"{one.model} {one.metric}" for one in filters if _matches(one.pattern, line)}


@pytest.mark.parametrize(
    ("path", "code", "metrics"),
    [
        ("/v2/models/digits/infer", 200, {"digits Requests", "digits Latency"}),
        ("/prod/v2/models/digits/infer", 200, {"digits Requests", "digits Latency"}),
        ("/v2/models/digits/infer/", 200, {"digits Requests", "digits Latency"}),
        ("/v2/models/texts/versions/1/infer/", 429, {"texts Requests", "texts RateLimited"}),
        ("/v2/models/digits/infer/x", 200, set()),
        ("/v2/models/texts/versions/1/infer", 400, {"texts Requests", "texts Latency"}),
        ("/v2/models/digits/infer", 429, {"digits Requests", "digits RateLimited"}),
        ("/v2/models/digits/infer", 504, {"digits Requests", "digits Latency", "digits Errors"}),
        ("/v2/models/digits/ready", 200, set()),
        ("/v2/models/digits", 500, set()),
        ("/v2/models/digits-b/infer", 200, set()),
    ],
)
def test_inference_request_counts_only_for_its_model(
    path: str, code: int, metrics: set[str]
) -> None:
    assert _matching_metrics({"uri": path, "code": code, "took": 12}) == metrics


def test_each_model_has_its_own_namespace() -> None:
    filters = access_log_filters("prod", ["digits", "texts"], _FIELDS)
    assert {one.namespace for one in filters} == {"Berth/prod/digits", "Berth/prod/texts"}


def test_minute_without_requests_has_zero_counts_and_no_latency() -> None:
    filters: dict[str, MetricFilter] = {
        one.metric: one for one in access_log_filters("prod", ["digits"], _FIELDS)
    }
    assert (filters["Latency"].value, filters["Latency"].default) == ("$.took", None)
    assert {filters[name].default for name in ("Requests", "Errors", "RateLimited")} == {"0"}


def test_more_models_than_filters_of_a_log_group_are_rejected() -> None:
    models = [f"model-{number}" for number in range(25)]
    assert len(access_log_filters("prod", models, _FIELDS)) == 100
    with pytest.raises(ValueError, match="26 models exceed the 25 that CloudWatch can count"):
        access_log_filters("prod", [*models, "one-more"], _FIELDS)
