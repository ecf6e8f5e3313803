"""A stack whose alarms and dashboards the tests plan."""

from pulumi_berth.aws.alarm_plan import AlarmThresholds
from pulumi_berth.aws.metrics import (
    Compute,
    MonitoredApi,
    MonitoredBalancer,
    MonitoredCluster,
    MonitoredModel,
    MonitoredStack,
)

STACK = MonitoredStack(
    stack="prod",
    api=MonitoredApi(name="berth-prod", stage="v2"),
    balancer=MonitoredBalancer(load_balancer="net/berth/1", target_group="targetgroup/berth/2"),
    cluster=MonitoredCluster(name="berth-prod", namespace="berth"),
)
THRESHOLDS = AlarmThresholds(
    error_percent=1, latency_p99_ms=500, rate_limited_percent=5, saturation_percent=85, minutes=5
)
DIGITS = MonitoredModel(name="digits", versions=["1", "2.0"], compute=Compute.CPU, queue=512)
TEXTS = MonitoredModel(name="texts", versions=["1"], compute=Compute.GPU, queue=0)
EVERYTHING = MonitoredModel(
    name="everything",
    versions=[str(number) for number in range(50)],
    compute=Compute.CPU,
    queue=256,
)
"""A model with the maximum number of versions."""
