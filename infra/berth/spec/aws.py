"""The parts of an aws stack around its cluster: network, API, keys, monitoring and budget."""

import ipaddress
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.edge import DomainSpec
from berth.spec.errors import Problem, build_rule_error
from berth.spec.fields import Email, PrivateCidr, Section

# Each Pod uses an address of its subnet: a smaller subnet would run out of addresses.
_SMALLEST_SUBNET = 24

# The values that CloudWatch Logs accepts.
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip

InterfaceEndpoint = Literal[
    "autoscaling",
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "kms",
    "logs",
    "monitoring",
    "sts",
]

ManagedRuleGroup = Literal[
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesAnonymousIpList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
    "AWSManagedRulesLinuxRuleSet",
    "AWSManagedRulesSQLiRuleSet",
    "AWSManagedRulesUnixRuleSet",
]


class NetworkSpec(Section):
    """A VPC with a private and a public subnet in each Availability Zone."""

    cidr: PrivateCidr = "10.20.0.0/16"
    """Private addresses of the VPC: /16 or smaller, with room for a /24 per subnet."""
    availability_zones: int = Field(default=3, ge=2, le=6)
    """Number of Availability Zones that the stack uses."""
    nat: Literal["single", "per_zone"] = "single"
    """NAT gateways: a single one costs less; one per zone survives the loss of a zone."""
    interface_endpoints: list[InterfaceEndpoint] = Field(
        default=["ecr.api", "ecr.dkr", "logs", "sts"], max_length=11
    )
    """AWS services that the stack reaches without leaving AWS's network. Each costs money per hour
    and zone. S3 is always included, at no cost."""
    flow_log_days: RetentionDays = 30
    """Days to keep the VPC flow log."""

    @model_validator(mode="after")
    def _check_size(self) -> "NetworkSpec":
        prefix = ipaddress.IPv4Network(self.cidr).prefixlen
        subnets = 2 * self.availability_zones
        longest = _SMALLEST_SUBNET - (subnets - 1).bit_length()
        if prefix < 16:
            raise build_rule_error(
                Problem(("cidr",), "is larger than AWS allows for a VPC; use /16 or smaller")
            )
        if prefix > longest:
            raise build_rule_error(
                Problem(
                    ("cidr",),
                    f"is too small for {subnets} subnets (a private and a public one in each "
                    f"of {self.availability_zones} zones) of /{_SMALLEST_SUBNET}; "
                    f"use /16 to /{longest}",
                )
            )
        return self


class WafSpec(Section):
    """The web application firewall (AWS WAF)."""

    managed_rule_groups: list[ManagedRuleGroup] = Field(
        default=[
            "AWSManagedRulesAmazonIpReputationList",
            "AWSManagedRulesCommonRuleSet",
            "AWSManagedRulesKnownBadInputsRuleSet",
        ],
        max_length=7,
    )
    """Active managed rule groups of AWS."""
    requests_per_ip: int | None = Field(default=None, ge=10, le=2_000_000_000)
    """Requests per IP address in 5 minutes. The firewall rejects further requests with 429.
    Defaults to the requests of the fastest client in that time, at least 2,000. Behind CloudFront,
    set `edge.cdn.requests_per_ip` instead."""
    mode: Literal["block", "count"] = "block"
    """Action of the managed rule groups: block matching requests, or only count them. Rules that
    inspect bodies only count, because a body is data for a model. The limit per IP address always
    applies."""


class ApiRateLimitSpec(Section):
    """The rate limit for all clients together."""

    rate_per_second: float = Field(default=1000.0, gt=0, le=10_000)
    """Sustained requests per second. 10,000 is an AWS account's quota per Region."""
    burst: int = Field(default=2000, ge=1, le=5_000)
    """Requests that may arrive at once. 5,000 is an AWS account's quota per Region."""


class ApiSpec(Section):
    """The regional REST API in API Gateway. `gateway` configures its clients and their limits."""

    domain: DomainSpec | None = None
    """Host name of the API. Berth creates its certificate. Defaults to a name that API Gateway
    generates."""
    rate_limit: ApiRateLimitSpec = Field(default_factory=ApiRateLimitSpec)
    """Rate limit for all clients together."""
    waf: WafSpec = Field(default_factory=WafSpec)
    """Web application firewall."""


class EncryptionSpec(Section):
    """KMS keys, one per purpose. They encrypt all data at rest."""

    rotation_days: int = Field(default=365, ge=90, le=2560)
    """Days between rotations of the key material."""
    deletion_window_days: int = Field(default=30, ge=7, le=30)
    """Days during which a deleted key can be restored."""


class AlarmSpec(Section):
    """Thresholds above which CloudWatch raises an alarm for a model."""

    error_percent: float = Field(default=1.0, gt=0, le=100)
    """Responses with a 5xx status, in percent of all responses."""
    latency_p99_ms: float = Field(default=1000.0, gt=0, le=29_000)
    """99th percentile of the latency, in milliseconds."""
    rate_limited_percent: float = Field(default=5.0, gt=0, le=100)
    """Responses with status 429, in percent of all responses."""
    saturation_percent: float = Field(default=85.0, gt=0, le=100)
    """Utilization of the CPU or the queue of the berths, in percent."""
    minutes: int = Field(default=5, ge=1, le=60)
    """Minutes for which a threshold must be exceeded."""


class ObservabilitySpec(Section):
    """Logs, dashboards and alarms."""

    log_days: RetentionDays = 30
    """Days to keep logs."""
    dashboards: bool = True
    """If true, Berth creates a CloudWatch dashboard for each model."""
    alarms: AlarmSpec = Field(default_factory=AlarmSpec)
    """Thresholds above which CloudWatch raises an alarm for a model."""
    notify: list[Email] = Field(default=[], max_length=20)
    """E-mail addresses that receive alarms. Each recipient confirms the subscription once."""


class BudgetSpec(Section):
    """A monthly budget and the addresses that receive its alerts."""

    monthly_usd: float = Field(gt=0, le=100_000_000)
    """US dollars per calendar month."""
    scope: Literal["account", "stack"] = "account"
    """Cost that counts: that of the whole account, or of resources with Berth's own tag of this
    stack. AWS counts no cost by tag before the account that pays has activated the tag for cost
    allocation, at the earliest a day after the first `up`."""
    alert_percents: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default=[50, 80, 100], min_length=1, max_length=5
    )
    """Percentages of the budget at which AWS sends an alert, in ascending order."""
    notify: list[Email] = Field(default=[], max_length=10)
    """E-mail addresses that receive alerts. Without one, only the console shows the budget."""

    @model_validator(mode="after")
    def _check_order(self) -> "BudgetSpec":
        if any(low >= high for low, high in pairwise(self.alert_percents)):
            raise build_rule_error(
                Problem(("alert_percents",), "is not ascending; sort it and remove duplicates")
            )
        return self
