"""The gateway: who may call, how much, and how large and long a request may be."""

from typing import Annotated, Literal

from pydantic import Field

from berth.spec.section import Section
from berth.spec.text import Name, Text

# Stands for a secret's value where only the encrypted text is at hand. It has the form of a key.
ENCRYPTED = "<encrypted-not-readable-here>"


class QuotaSpec(Section):
    """How much a client may ask in a longer period."""

    requests: int = Field(ge=1, le=1_000_000_000_000)
    """Requests in one period; more are refused with 429 until the next."""
    period: Literal["hour", "day", "week", "month"] = "day"
    """A calendar period in UTC; a week begins on Monday."""


ApiKeyText = Annotated[
    str,
    Text(r"[!-~]{20,128}", "20 to 128 printable ASCII characters without a space"),
]


class ClientSpec(Section):
    """One client of the gateway: its key and its share."""

    rate_per_second: float = Field(default=50.0, gt=0, le=100_000)
    """Requests per second in the long run; more are refused with 429."""
    burst: int = Field(default=100, ge=1, le=100_000)
    """Requests that may come at once after a pause."""
    quota: QuotaSpec | None = None
    """Requests in a longer period; no limit when omitted."""
    key: ApiKeyText | None = Field(default=None, repr=False)
    """The API key, a Pulumi secret; when omitted, the first `up` makes one. Set it with
    `pulumi config set --secret --path 'berth:gateway.clients.<client>.key'`."""


class GatewaySpec(Section):
    """The front door of a stack."""

    clients: dict[Name, ClientSpec] = Field(
        default={"default": ClientSpec()}, min_length=1, max_length=300
    )
    """Who may call, by name; when omitted, one client, `default`, with defaults."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1024**3)
    """Bytes in one request's body; more are refused with 413."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Seconds that a berth gets to answer; later the client is answered 504."""
