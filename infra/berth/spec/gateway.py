"""The gateway: its clients and their limits, and the limits of each request."""

import datetime
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from berth.spec.errors import Problem, build_rule_error, raise_problems
from berth.spec.fields import (
    KeyName,
    KubernetesName,
    Name,
    PodResourceSpec,
    ProjectPath,
    Section,
    Text,
)

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


JwtSubject = Annotated[str, Text(r"\S(.{0,254}\S)?", "text of 1 to 256 characters, on one line")]
HttpsUrl = Annotated[
    str,
    Text(
        r"https:\/\/[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(\/[!-~]{0,1000})?",
        "an HTTPS URL without user name, such as https://issuer.example/.well-known/jwks.json",
    ),
]


def _check_moment(value: str) -> str:
    try:
        datetime.datetime.fromisoformat(value)
    except ValueError:
        raise build_rule_error(
            Problem((), "is not a date or time that exists; correct it")
        ) from None
    return value


Moment = Annotated[
    str,
    Text(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?",
        'a date or a UTC time in quotes, such as "2027-03-31" or "2027-03-31T18:00:00Z"',
    ),
    AfterValidator(_check_moment),
]


class QuotaSpec(Section):
    """A limit on requests per calendar period."""

    requests: int = Field(ge=1, le=1_000_000_000_000)
    """Requests per period. The gateway rejects further requests with 429 until the next period."""
    period: Literal["hour", "day", "week", "month"] = "day"
    """Calendar period in UTC. A week begins on Monday."""


class KeySpec(Section):
    """An API key of a client."""

    key: ApiKeyText | None = Field(default=None, repr=False)
    """The key, a Pulumi secret. By default, the first `up` generates one. Set it with `pulumi
    config set --secret --path 'berth:gateway.clients.<client>.keys.<key>.key'`."""
    expires: Moment | None = None
    """Time from which the gateway rejects the key. A date means 00:00 UTC. Defaults to never."""


class ClientSpec(Section):
    """A client of the gateway: its API keys, its models and its limits."""

    rate_per_second: float = Field(default=50.0, gt=0, le=100_000)
    """Sustained requests per second. The gateway rejects further requests with 429."""
    burst: int = Field(default=100, ge=1, le=100_000)
    """Requests that may arrive at once after a pause."""
    quota: QuotaSpec | None = None
    """Limit on requests per calendar period. Defaults to no limit."""
    key: ApiKeyText | None = Field(default=None, repr=False)
    """API key, a Pulumi secret. By default, the first `up` generates one. Set it with `pulumi
    config set --secret --path 'berth:gateway.clients.<client>.key'`. It is the key `default` of
    `keys`; set only one of the two."""
    keys: dict[KeyName, KeySpec] | None = Field(default=None, max_length=10)
    """API keys by name. All of them work: add the new key, let the caller change, then remove the
    old one. Defaults to one key named `default`. Set it to `{}` for a client that sends only
    tokens."""
    models: list[Name] | None = Field(default=None, max_length=1000)
    """Models that the client can call. Other models look missing (404). Defaults to all models."""
    jwt_subjects: list[JwtSubject] = Field(default=[], max_length=100)
    """Values of `gateway.jwt.client_claim` in the tokens of this client."""

    @model_validator(mode="after")
    def _check(self) -> "ClientSpec":
        raise_problems(self._find_problems())
        return self

    def _find_problems(self) -> Iterator[Problem]:
        if self.key is not None and self.keys is not None:
            yield Problem(
                ("key",), "is set next to keys; move it to the key default of keys", False
            )
        if self.keys == {} and not self.jwt_subjects:
            yield Problem(("keys",), "is empty; add a key, or jwt_subjects", False)


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


class JwtSpec(Section):
    """An issuer of JSON Web Tokens, with which clients can identify themselves instead of keys."""

    issuer: Annotated[str, Field(min_length=1, max_length=256)]
    """Required value of the claim `iss`."""
    audience: Annotated[str, Field(min_length=1, max_length=256)]
    """Required value of the claim `aud`."""
    client_claim: Annotated[str, Field(min_length=1, max_length=256)] = "sub"
    """Claim whose value is one of a client's `jwt_subjects`."""
    jwks_url: HttpsUrl | None = None
    """URL of the issuer's public keys, a JSON Web Key Set that the gateway reads every 5
    minutes."""
    jwks_file: ProjectPath | None = None
    """File with the issuer's public keys, instead of `jwks_url`."""

    @model_validator(mode="after")
    def _check(self) -> "JwtSpec":
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise build_rule_error(
                Problem((), "must have one of jwks_url and jwks_file; set one of them", False)
            )
        return self


class BlockingSpec(Section):
    """When the gateway blocks a client that keeps exceeding its limits, and an address that keeps
    guessing keys. Gateways that share limits share blocks."""

    enabled: bool = True
    """If false, the gateway blocks nobody."""
    rejections: int = Field(default=1000, ge=1, le=1_000_000_000)
    """Requests above its limits within the window after which a client is blocked."""
    invalid_keys: int = Field(default=20, ge=1, le=1_000_000_000)
    """Requests with invalid keys within the window after which their address is blocked. Clients
    that used the address before are still served."""
    window_seconds: float = Field(default=60.0, gt=0, le=604_800)
    """Length of the window, in seconds."""
    first_seconds: float = Field(default=10.0, gt=0, le=604_800)
    """Duration of the first block, in seconds. Each further block takes twice as long."""
    max_seconds: float = Field(default=3600.0, gt=0, le=604_800)
    """Longest duration of a block, in seconds. After this time without a block, the next block is a
    first one again."""


class GatewaySpec(Section):
    """The entry point of a stack: clients, API keys, rate limits and request limits."""

    clients: dict[Name, ClientSpec] = Field(
        default_factory=lambda: {"default": ClientSpec()},
        min_length=1,
        max_length=300,
        json_schema_extra={"default": {"default": {}}},
    )
    """Clients by name. Defaults to one client named `default` with the default limits."""
    jwt: JwtSpec | None = None
    """Issuer of JSON Web Tokens. Defaults to none: clients have API keys."""
    blocking: BlockingSpec = Field(default_factory=BlockingSpec)
    """When clients and addresses are blocked."""
    limits: LimitsSpec = Field(default_factory=LimitsSpec)
    """Where several gateways keep the clients' limits. The only gateway of platform local, and
    the serving one of platform docker, keep them themselves."""
    replicas: int = Field(default=2, ge=1, le=100)
    """Pods of the gateway in a cluster. With one, requests fail while its node drains. Platform
    local runs one process."""
    max_replicas: int | None = Field(default=None, ge=1, le=100)
    """Maximum number of these pods. An autoscaler then maintains a CPU utilization of 70%. Not less
    than `replicas`, which is the default."""
    resources: PodResourceSpec = Field(default_factory=PodResourceSpec)
    """Resources of each of these pods. Defaults to 50m CPU of at most 1, and 256Mi memory."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1024**3)
    """Maximum size of a request body, in bytes. The gateway rejects larger bodies with 413."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Time limit for a berth's response, in seconds. Afterwards the gateway returns 504."""
    body_memory_bytes: int | None = Field(default=None, ge=1024**2, le=1024**4)
    """Memory of a gateway for all request bodies together, in bytes. Beyond it, the gateway rejects
    requests with 503. Defaults to a quarter of its container's memory, at most 1 GiB."""

    @model_validator(mode="after")
    def _check(self) -> "GatewaySpec":
        raise_problems(self._find_problems())
        return self

    def _find_problems(self) -> Iterator[Problem]:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            yield Problem(
                ("max_replicas",),
                f"is less than replicas ({self.replicas}); raise it or lower replicas",
            )
        owners: dict[str, str] = {}
        for name, client in self.clients.items():
            for index, subject in enumerate(client.jwt_subjects):
                path = ("clients", name, "jwt_subjects", index)
                owner = owners.setdefault(subject, name)
                if self.jwt is None:
                    yield Problem(path, "is set, but gateway.jwt is missing; add the issuer", False)
                elif owner != name:
                    yield Problem(path, f"is also a subject of client {owner}; remove one", False)
