"""Endpoints near the users: edge sites, CloudFront and latency-based routing."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.errors import Problem, build_rule_error
from berth.spec.fields import FilePath, Hostname, Name, Namespace, Section, StackName


class DomainSpec(Section):
    """A host name and the Route 53 zone in which Berth creates its record and certificate."""

    name: Hostname
    """Host name that clients use."""
    zone: Hostname
    """Existing public Route 53 zone that contains `name`."""

    @model_validator(mode="after")
    def _check_zone(self) -> "DomainSpec":
        if self.name != self.zone and not self.name.endswith(f".{self.zone}"):
            raise build_rule_error(
                Problem(("name",), f"is not in the zone {self.zone}; use a name in that zone")
            )
        return self


class SiteSpec(Section):
    """An additional cluster that runs some of the models, with the same image digests."""

    kubeconfig: FilePath
    """Path of the kubeconfig file for the site's cluster."""
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Context in the kubeconfig file. Defaults to its current context."""
    namespace: Namespace = "berth"
    """Namespace at the site, which no one else uses."""
    adopt_namespace: bool = False
    """If true, the namespace exists already. Berth adds only its own objects, and `destroy` keeps
    the namespace and everything else in it."""
    models: list[Name] = Field(min_length=1, max_length=1000)
    """Models that run at the site, with the versions and traffic that they have in this stack."""


class CdnSpec(Section):
    """A CloudFront distribution in front of the API. It never caches predictions."""

    domain: DomainSpec | None = None
    """Host name of the distribution. Defaults to a name that CloudFront generates."""
    price_class: Literal["100", "200", "all"] = "100"
    """Edge locations that CloudFront uses: 100 is Europe and North America; 200 adds Asia, the
    Middle East and Africa; all is every location."""
    minimum_tls: Literal["1.2", "1.3"] = "1.2"
    """Minimum TLS version for clients."""
    requests_per_ip: int | None = Field(default=None, ge=10, le=2_000_000_000)
    """Requests per IP address in 5 minutes. The firewall rejects further requests with 429.
    Defaults to the requests of the fastest client in that time, at least 2,000."""


class LatencyRoutingSpec(Section):
    """One host name for the same API in several Regions. Route 53 returns the nearest healthy
    Region. The stack of each Region has this section with the same domain and creates its own
    record."""

    domain: DomainSpec
    """Host name. Its latency records point to the APIs of the stacks."""
    stacks: list[StackName] = Field(default=[], max_length=20)
    """Deployed stacks of other Regions. `up` checks that they are compatible with this stack."""
    cdn_stack: StackName | None = None
    """Stack, one of `stacks`, whose CloudFront distribution (`edge.cdn`) is in front of this host
    name. The API then accepts requests only from that distribution. Omit it if clients use the host
    name directly or if this stack has the distribution."""


class EdgeSpec(Section):
    """Endpoints near the users."""

    sites: dict[Name, SiteSpec] = Field(default={}, max_length=100)
    """Additional clusters by name."""
    cdn: CdnSpec | None = None
    """aws: CloudFront distribution in front of the API. Defaults to none."""
    latency_routing: LatencyRoutingSpec | None = None
    """aws: Latency-based routing across the stacks of several Regions. Defaults to none."""
