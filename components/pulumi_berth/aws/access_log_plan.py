"""Metric filters for the API's access log, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass

from berth_protocol import paths
from pulumi_berth.aws.metrics import metric_namespace

REQUESTS, ERRORS, RATE_LIMITED, LATENCY = "Requests", "Errors", "RateLimited", "Latency"

# Quota of metric filters per log group; AWS does not raise it.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
_MAX_FILTERS = 100
_FILTERS_PER_MODEL = 4
MAX_MODELS = _MAX_FILTERS // _FILTERS_PER_MODEL
"""Maximum number of models that one access log can count."""


@dataclass(frozen=True, kw_only=True)
class AccessLogFields:
    """Names of the members in each JSON log line.

    Status and latency must be numbers: metric filters compare and measure only numbers.

    Attributes:
        path: Path of the request, with or without the stage (`$context.path`).
        status: Status of the response (`$context.status`).
        latency: Milliseconds until the response (`$context.responseLatency`).
    """

    path: str = "path"
    status: str = "status"
    latency: str = "latency"


@dataclass(frozen=True, kw_only=True)
class MetricFilter:
    """A metric that CloudWatch Logs derives from log lines.

    Attributes:
        model: Model that the metric describes.
        metric: Name of the metric.
        namespace: Namespace of the metric.
        pattern: Pattern of the lines
            (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html).
        value: Value that each matching line adds.
        default: Value of a minute in which lines arrive but none matches. If None, no value.
        unit: Unit of the metric.
    """

    model: str
    metric: str
    namespace: str
    pattern: str
    value: str
    default: str | None
    unit: str


def access_log_filters(
    stack: str, models: Sequence[str], fields: AccessLogFields
) -> list[MetricFilter]:
    """Return four metrics for each model.

    They are the inference requests, the 5xx responses, the 429 responses, and the latency in
    milliseconds of all responses except 429, which take no time.

    Raises:
        ValueError: If there are more models than one log group has filters for.
    """
    if len(models) > MAX_MODELS:
        raise ValueError(
            f"{len(models)} models exceed the {MAX_MODELS} that CloudWatch can count in one access "
            "log. Move some models to another stack."
        )
    return [planned for model in models for planned in _model_filters(stack, model, fields)]


def _model_filters(stack: str, model: str, fields: AccessLogFields) -> list[MetricFilter]:
    path, status = f"$.{fields.path}", f"$.{fields.status}"
    # A path may end with a slash. At most five patterns of a log group can be regular expressions.
    ends = f'(({path} = "*{paths.INFER_SUFFIX}") || ({path} = "*{paths.INFER_SUFFIX}/"))'
    inference = f'({path} = "*{paths.model_path(model)}/*") && {ends}'

    def count(metric: str, pattern: str) -> MetricFilter:
        return MetricFilter(
            model=model,
            metric=metric,
            namespace=metric_namespace(stack, model),
            pattern=f"{{ {pattern} }}",
            value="1",
            default="0",
            unit="Count",
        )

    return [
        count(REQUESTS, inference),
        count(ERRORS, f"{inference} && ({status} >= 500)"),
        count(RATE_LIMITED, f"{inference} && ({status} = 429)"),
        MetricFilter(
            model=model,
            metric=LATENCY,
            namespace=metric_namespace(stack, model),
            pattern=f"{{ {inference} && ({status} != 429) }}",
            value=f"$.{fields.latency}",
            default=None,
            unit="Milliseconds",
        ),
    ]
