"""What brings the API near its users."""

from typing import Annotated, Literal

from pydantic import Field

from berth.spec.domain import DomainSpec
from berth.spec.section import Section
from berth.spec.text import FilePath, KubernetesName, Name, StackName


class SiteSpec(Section):
    """A further cluster that runs some of the models, with the same digests."""

    kubeconfig: FilePath
    """Path of the kubeconfig file of the site's cluster."""
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The kubeconfig's context; the current one when omitted."""
    namespace: KubernetesName = "berth"
    """The namespace at the site."""
    models: list[Name] = Field(min_length=1, max_length=1000)
    """The models that run there, with the versions and traffic that they have here."""


class CdnSpec(Section):
    """CloudFront in front of the API. Inference is never cached."""

    domain: DomainSpec | None = None
    """Host name of the distribution; CloudFront's own when omitted."""
    price_class: Literal["100", "200", "all"] = "100"
    """Where CloudFront answers: 100 is Europe and North America, 200 adds Asia, the Middle East
    and Africa, all is everywhere."""
    minimum_tls: Literal["1.2", "1.3"] = "1.2"
    """The lowest TLS version that a client may use."""
    requests_per_ip: int = Field(default=2000, ge=10, le=2_000_000_000)
    """Requests of one address in 5 minutes; more are blocked."""


class LatencyRoutingSpec(Section):
    """One host name for the same API in several regions: the nearest that is healthy answers. Each
    region's stack has this section with the same domain, and makes its own record."""

    domain: DomainSpec
    """The host name; its latency records point to the APIs of the stacks."""
    stacks: list[StackName] = Field(default=[], max_length=20)
    """Stacks of other regions that are up: they are held against this one."""
    cdn_stack: StackName | None = None
    """Which of `stacks` has the CloudFront distribution (`edge.cdn`) that is in front of this name:
    the API takes what comes from there alone. None where clients use the name themselves, or this
    stack has the distribution."""


class EdgeSpec(Section):
    """Edge endpoints."""

    sites: dict[Name, SiteSpec] = Field(default={}, max_length=100)
    """Further clusters, by name."""
    cdn: CdnSpec | None = None
    """aws: CloudFront in front of the API; none when omitted."""
    latency_routing: LatencyRoutingSpec | None = None
    """aws: latency records over several regional stacks; none when omitted."""
