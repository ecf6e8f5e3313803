"""The gateway: its clients and their limits, and the limits of each request."""

from typing import Annotated, Literal

from pydantic import Field

from berth.spec.fields import KubernetesName, Name, Section, Text

ENCRYPTED = "<encrypted-not-readable-here>"
"""The value of a secret in a file, where only its ciphertext is available. It is a valid key."""

ApiKeyText = Annotated[
    str,
    Text(r"[!-~]{20,128}", "20 to 128 printable ASCII characters without spaces"),
]


ValkeyUrlText = Annotated[
    str,
    Text(
        r"valkeys?:\/\/([^\s\/?#@]*@)?[^\s\/?#@]+(\/[0-9]{1,5})?|<encrypted-not-readable-here>",
        "valkey://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or valkeys:// for TLS",
    ),
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


class LimitsSpec(Section):
    """Where the gateways of a cluster keep the clients' limits: in a Valkey server."""

    valkey_url: ValkeyUrlText | None = Field(default=None, repr=False)
    """URL of an existing server with its password, a Pulumi secret. By default, Berth runs a server
    in the namespace. Set it with `pulumi config set --secret --path
    'berth:gateway.limits.valkey_url'`."""
    when_unreachable: Literal["own-limits", "no-limits"] = "own-limits"
    """What a gateway does while it cannot reach the server: apply the limits to its own requests,
    or let all requests pass. No request fails."""
    storage_class: KubernetesName | None = None
    """StorageClass of a volume for the data of Berth's server. By default, the server keeps its
    data until its pod is deleted. The gateways then restore the quotas."""
    storage_gib: int = Field(default=1, ge=1, le=1024)
    """Size of the volume, in GiB."""


class GatewaySpec(Section):
    """The entry point of a stack: clients, API keys, rate limits and request limits."""

    clients: dict[Name, ClientSpec] = Field(
        default_factory=lambda: {"default": ClientSpec()},
        min_length=1,
        max_length=300,
        json_schema_extra={"default": {"default": {}}},
    )
    """Clients by name. Defaults to one client named `default` with the default limits."""
    limits: LimitsSpec = Field(default_factory=LimitsSpec)
    """Where several gateways keep the clients' limits. The only gateway of platform local keeps
    them itself."""
    replicas: int = Field(default=2, ge=1, le=100)
    """Pods of the gateway in a cluster. With one, requests fail while its node drains. Platform
    local runs one process."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1024**3)
    """Maximum size of a request body, in bytes. The gateway rejects larger bodies with 413."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Time limit for a berth's response, in seconds. Afterwards the gateway returns 504."""
