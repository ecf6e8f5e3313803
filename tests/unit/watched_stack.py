"""A stack to plan alarms and dashboards for."""

from pulumi_berth.aws.alarm_plan import AlarmThresholds
from pulumi_berth.aws.watched import (
    WatchedApi,
    WatchedBalancer,
    WatchedCluster,
    WatchedModel,
    WatchedStack,
)

STACK = WatchedStack(
    stack="prod",
    api=WatchedApi(name="berth-prod", stage="v2"),
    balancer=WatchedBalancer(load_balancer="net/berth/1", target_group="targetgroup/berth/2"),
    cluster=WatchedCluster(name="berth-prod", namespace="berth"),
)
THRESHOLDS = AlarmThresholds(
    error_percent=1, latency_p99_ms=500, rate_limited_percent=5, saturation_percent=85, minutes=5
)
DIGITS = WatchedModel(name="digits", versions=["1", "2.0"], compute="cpu", queue=512)
TEXTS = WatchedModel(name="texts", versions=["1"], compute="gpu", queue=0)
EVERYTHING = WatchedModel(
    name="everything", versions=[str(number) for number in range(50)], compute="cpu", queue=256
)
"""As many versions as the specification takes."""
