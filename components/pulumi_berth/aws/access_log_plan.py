"""The plan of what is counted in the API's access log, for each model."""

from collections.abc import Sequence
from dataclasses import dataclass

from berth_protocol import paths
from pulumi_berth.aws.watched import model_namespace

REQUESTS, ERRORS, THROTTLED, LATENCY = "Requests", "Errors", "Throttled", "Latency"

# Of one log group; it cannot be raised.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
_MOST_FILTERS = 100


@dataclass(frozen=True, kw_only=True)
class AccessLogFields:
    """What the members of the log's JSON lines are called. Status and latency are numbers there,
    not texts: filters compare and measure numbers alone.

    Attributes:
        path: of the request, with or without the stage before it (`$context.path`).
        status: of the answer (`$context.status`).
        latency: milliseconds until the answer (`$context.responseLatency`).
    """

    path: str = "path"
    status: str = "status"
    latency: str = "latency"


@dataclass(frozen=True, kw_only=True)
class MetricFilter:
    """A metric that CloudWatch Logs makes of lines.

    Attributes:
        model: whose metric.
        metric: its name.
        namespace: where it is.
        pattern: of the lines
            (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html).
        value: what each of them adds.
        default: what a minute with lines of which none fits adds; None for nothing.
        unit: of the metric.
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
    """Four metrics for each model: inference requests, those answered with 5xx, those answered 429,
    and the milliseconds of all but the last, which are refused in no time.

    Raises:
        ValueError: more models than one log group has filters for.
    """
    most = _MOST_FILTERS // 4
    if len(models) > most:
        raise ValueError(
            f"{len(models)} models; CloudWatch counts at most {most} in one access log:"
            " give further models a stack of their own"
        )
    return [made for model in models for made in _filters(stack, model, fields)]


def _filters(stack: str, model: str, fields: AccessLogFields) -> list[MetricFilter]:
    path, status = f"$.{fields.path}", f"$.{fields.status}"
    inference = f'({path} = "*{paths.model_path(model)}/*") && ({path} = "*{paths.INFER_SUFFIX}")'

    def counted(metric: str, pattern: str) -> MetricFilter:
        return MetricFilter(
            model=model,
            metric=metric,
            namespace=model_namespace(stack, model),
            pattern=f"{{ {pattern} }}",
            value="1",
            default="0",
            unit="Count",
        )

    return [
        counted(REQUESTS, inference),
        counted(ERRORS, f"{inference} && ({status} >= 500)"),
        counted(THROTTLED, f"{inference} && ({status} = 429)"),
        MetricFilter(
            model=model,
            metric=LATENCY,
            namespace=model_namespace(stack, model),
            pattern=f"{{ {inference} && ({status} != 429) }}",
            value=f"$.{fields.latency}",
            default=None,
            unit="Milliseconds",
        ),
    ]
