"""API Gateway and its firewall, in front of an aws stack."""

from typing import Literal

from pydantic import Field

from berth.spec.domain import DomainSpec
from berth.spec.section import Section

RuleSet = Literal[
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesAnonymousIpList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
    "AWSManagedRulesLinuxRuleSet",
    "AWSManagedRulesSQLiRuleSet",
    "AWSManagedRulesUnixRuleSet",
]


class WafSpec(Section):
    """The web application firewall."""

    managed_rule_groups: list[RuleSet] = Field(
        default=[
            "AWSManagedRulesAmazonIpReputationList",
            "AWSManagedRulesCommonRuleSet",
            "AWSManagedRulesKnownBadInputsRuleSet",
        ],
        max_length=7,
    )
    """AWS's managed rule sets that are in force."""
    requests_per_ip: int = Field(default=2000, ge=10, le=2_000_000_000)
    """Requests of one address in 5 minutes; more are blocked."""
    mode: Literal["block", "count"] = "block"
    """Whether the managed rules block, or only count, what they match; the rate always blocks."""


class ApiRateLimitSpec(Section):
    """The throttle of all clients together."""

    rate_per_second: float = Field(default=1000.0, gt=0, le=10_000)
    """Requests per second in the long run; 10,000 is an AWS account's quota per region."""
    burst: int = Field(default=2000, ge=1, le=5_000)
    """Requests that may come at once; 5,000 is an AWS account's quota per region."""


class ApiSpec(Section):
    """The regional REST API: `gateway` says who may call it and how much."""

    domain: DomainSpec | None = None
    """Host name of the API, with a certificate made for it; API Gateway's own when omitted."""
    rate_limit: ApiRateLimitSpec = ApiRateLimitSpec()
    """The throttle of all clients together."""
    waf: WafSpec = WafSpec()
    """The web application firewall."""
