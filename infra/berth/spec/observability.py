"""Logs, dashboards and alarms of an aws stack."""

from typing import Literal

from pydantic import Field

from berth.spec.section import Section
from berth.spec.text import Email

# The values that CloudWatch Logs takes.
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip


class AlarmSpec(Section):
    """From when on a model's state is an alarm."""

    error_percent: float = Field(default=1.0, gt=0, le=100)
    """Answers with a 5xx status, in percent of all."""
    latency_p99_ms: float = Field(default=1000.0, gt=0, le=29_000)
    """Milliseconds that 99 of 100 answers must not exceed."""
    rate_limited_percent: float = Field(default=5.0, gt=0, le=100)
    """Answers 429, in percent of all."""
    saturation_percent: float = Field(default=85.0, gt=0, le=100)
    """Processor or queue of the berths in use, in percent."""
    minutes: int = Field(default=5, ge=1, le=60)
    """Minutes that it lasts before it is an alarm."""


class ObservabilitySpec(Section):
    """What is kept and who is told."""

    log_days: RetentionDays = 30
    """Days that logs are kept."""
    dashboards: bool = True
    """Whether each model gets a CloudWatch dashboard."""
    alarms: AlarmSpec = AlarmSpec()
    """From when on a model's state is an alarm."""
    notify: list[Email] = Field(default=[], max_length=20)
    """Addresses that alarms are sent to; each confirms once."""
