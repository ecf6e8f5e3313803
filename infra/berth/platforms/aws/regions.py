"""Stacks in several Regions that serve the same API: the outputs that they read from each other."""

from collections.abc import Mapping
from typing import Any

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.spec import HostingSpec, SpecError
from pulumi_berth.aws.api_gateway import SharedHost
from pulumi_berth.aws.custom_domain import LatencyRouting, RegionHealth, RegionHealthArgs
from pulumi_berth.aws.internal_load_balancer import InternalLoadBalancer

_SHARED_API_OUTPUT = "shared_api"
_EDGE_SECRET_OUTPUT = "edge_secret"  # noqa: S105 - the name of an output


def create_shared_host(
    spec: HostingSpec, account: AwsAccount, load_balancer: InternalLoadBalancer
) -> SharedHost | None:
    """Create the health check of this Region, and return the host name that the Regions share.

    Returns:
        None if no other Region serves the same API.
    """
    latency = spec.edge.latency_routing
    if latency is None:
        return None
    health = RegionHealth(
        "region-health",
        RegionHealthArgs(
            region=account.region,
            load_balancer=load_balancer.metric_name,
            target_group=load_balancer.target_metric_name,
        ),
        account.options(),
    )
    return SharedHost(
        host=account.host_name(latency.domain),
        routing=LatencyRouting(region=account.region, check_id=health.check_id),
    )


def other_regions(spec: HostingSpec) -> dict[str, pulumi.StackReference]:
    """Return references to the stacks that serve the same API, by name."""
    stacks = [] if spec.edge.latency_routing is None else spec.edge.latency_routing.stacks
    project = f"{pulumi.get_organization()}/{pulumi.get_project()}"
    return {stack: pulumi.StackReference(f"{project}/{stack}") for stack in stacks}


def read_edge_secret(
    spec: HostingSpec, others: Mapping[str, pulumi.StackReference]
) -> pulumi.Output[str] | None:
    """Return the header value that another stack's distribution adds to each request.

    Returns:
        None if no other stack has the distribution.
    """
    latency = spec.edge.latency_routing
    if latency is None or latency.cdn_stack is None:
        return None
    return others[latency.cdn_stack].require_output(_EDGE_SECRET_OUTPUT)


def region_outputs(
    spec: HostingSpec,
    account: AwsAccount,
    others: Mapping[str, pulumi.StackReference],
    secret: pulumi.Input[str] | None,
) -> dict[str, Any]:
    """Return the outputs that stacks in other Regions read, after a check that the stacks match.

    Raises:
        SpecError: From within an output, if another stack has a different host name or the same
            Region.
    """
    latency = spec.edge.latency_routing
    if latency is None:
        return {}
    own = {"region": account.region, "name": latency.domain.name}
    references = {stack: other.get_output(_SHARED_API_OUTPUT) for stack, other in others.items()}
    outputs: pulumi.Output[Any] = pulumi.Output.from_input(references)
    checked = outputs.apply(lambda others: _require_match(own, others))
    return {
        _SHARED_API_OUTPUT: checked,
        **({} if secret is None else {_EDGE_SECRET_OUTPUT: pulumi.Output.secret(secret)}),
    }


def _require_match(
    own: dict[str, str], others: Mapping[str, Mapping[str, str] | None]
) -> dict[str, str]:
    for stack, other in others.items():
        where = f"berth:edge.latency_routing.stacks: {stack}"
        if other is None:
            raise SpecError.of(
                f"{where} has no edge.latency_routing; add it there and run `berth up -s {stack}`"
            )
        if other["name"] != own["name"]:
            raise SpecError.of(
                f"{where} serves {other['name']}, not {own['name']}; use the same domain.name"
            )
        if other["region"] == own["region"]:
            raise SpecError.of(
                f"{where} is also in {own['region']}; each Region can have only one of the stacks"
            )
    return own
