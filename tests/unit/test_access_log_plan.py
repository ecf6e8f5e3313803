"""What is counted in the API's access log."""

from fnmatch import fnmatchcase
from typing import Any

import pytest

from pulumi_berth.aws.access_log_plan import AccessLogFields, MetricFilter, access_log_filters

_FIELDS = AccessLogFields(path="uri", status="code", latency="took")
_COMPARED = {
    "=": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
    ">=": lambda have, want: have >= want,
}


def _fits(pattern: str, line: dict[str, Any]) -> bool:
    """Whether CloudWatch Logs takes a line, for the parts of its patterns that plans use."""
    for condition in pattern.strip("{ }").split(" && "):
        field, operator, wanted = condition.strip("()").split(" ")
        have = line[field.removeprefix("$.")]
        if wanted.startswith('"'):
            if not fnmatchcase(have, wanted.strip('"')):
                return False
        elif not _COMPARED[operator](have, int(wanted)):
            return False
    return True


def _counted(line: dict[str, Any]) -> set[str]:
    filters = access_log_filters("prod", ["digits", "texts"], _FIELDS)
    return {f"{made.model} {made.metric}" for made in filters if _fits(made.pattern, line)}


@pytest.mark.parametrize(
    ("path", "code", "counted"),
    [
        ("/v2/models/digits/infer", 200, {"digits Requests", "digits Latency"}),
        ("/prod/v2/models/digits/infer", 200, {"digits Requests", "digits Latency"}),
        ("/v2/models/texts/versions/1/infer", 400, {"texts Requests", "texts Latency"}),
        ("/v2/models/digits/infer", 429, {"digits Requests", "digits Throttled"}),
        ("/v2/models/digits/infer", 504, {"digits Requests", "digits Latency", "digits Errors"}),
        ("/v2/models/digits/ready", 200, set()),
        ("/v2/models/digits", 500, set()),
        ("/v2/models/digits-b/infer", 200, set()),
    ],
)
def test_inference_requests_count_for_their_model(path: str, code: int, counted: set[str]) -> None:
    assert _counted({"uri": path, "code": code, "took": 12}) == counted


def test_each_model_has_a_namespace_of_its_own() -> None:
    filters = access_log_filters("prod", ["digits", "texts"], _FIELDS)
    assert {made.namespace for made in filters} == {"Berth/prod/digits", "Berth/prod/texts"}


def test_a_quiet_minute_has_no_latency_and_no_requests() -> None:
    made: dict[str, MetricFilter] = {
        entry.metric: entry for entry in access_log_filters("prod", ["digits"], _FIELDS)
    }
    assert (made["Latency"].value, made["Latency"].default) == ("$.took", None)
    assert {made[name].default for name in ("Requests", "Errors", "Throttled")} == {"0"}


def test_as_many_models_as_a_log_group_has_filters_for() -> None:
    models = [f"model-{number}" for number in range(25)]
    assert len(access_log_filters("prod", models, _FIELDS)) == 100
    with pytest.raises(ValueError, match="26 models; CloudWatch counts at most 25"):
        access_log_filters("prod", [*models, "one-more"], _FIELDS)
