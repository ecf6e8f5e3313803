"""The gateway: its clients and their limits, and the limits of each request."""

from typing import Annotated, Literal

from pydantic import Field

from berth.spec.fields import Name, Section, Text

ENCRYPTED = "<encrypted-not-readable-here>"
"""The value of a secret in a file, where only its ciphertext is available. It is a valid key."""

ApiKeyText = Annotated[
    str,
    Text(r"[!-~]{20,128}", "20 to 128 printable ASCII characters without spaces"),
]


class QuotaSpec(Section):
    """A limit on requests per calendar period."""

    requests: int = Field(ge=1, le=1_000_000_000_000)
    """Requests per period. The gateway rejects further requests with 429 until the next period."""
    period: Literal["hour", "day", "week", "month"] = "day"
    """Calendar period in UTC. A week begins on Monday."""


class ClientSpec(Section):
    """A client of the gateway: its API key and its limits."""

    rate_per_second: float = Field(default=50.0, gt=0, le=100_000)
    """Sustained requests per second. The gateway rejects further requests with 429."""
    burst: int = Field(default=100, ge=1, le=100_000)
    """Requests that may arrive at once after a pause."""
    quota: QuotaSpec | None = None
    """Limit on requests per calendar period. Defaults to no limit."""
    key: ApiKeyText | None = Field(default=None, repr=False)
    """API key, a Pulumi secret. By default, the first `up` generates one. Set it with `pulumi
    config set --secret --path 'berth:gateway.clients.<client>.key'`."""


class GatewaySpec(Section):
    """The entry point of a stack: clients, API keys, rate limits and request limits."""

    clients: dict[Name, ClientSpec] = Field(
        default_factory=lambda: {"default": ClientSpec()},
        min_length=1,
        max_length=300,
        json_schema_extra={"default": {"default": {}}},
    )
    """Clients by name. Defaults to one client named `default` with the default limits."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1024**3)
    """Maximum size of a request body, in bytes. The gateway rejects larger bodies with 413."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Time limit for a berth's response, in seconds. Afterwards the gateway returns 504."""
