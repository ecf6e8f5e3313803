"""Other regions' stacks that serve the same API: what they say of themselves, and to them."""

from collections.abc import Mapping
from typing import Any

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.spec import HostingSpec, SpecError
from pulumi_berth.aws.api_gateway import SharedHost
from pulumi_berth.aws.api_host import Nearest
from pulumi_berth.aws.internal_balancer import InternalBalancer
from pulumi_berth.aws.region_health import RegionHealth, RegionHealthArgs

_SAID = "shared_api"
_SECRET = "edge_secret"  # noqa: S105 - the name of an output


def shared_host(
    spec: HostingSpec, account: AwsAccount, balancer: InternalBalancer
) -> SharedHost | None:
    """The name that this region's API has together with others; None when it has none."""
    latency = spec.edge.latency_routing
    if latency is None:
        return None
    health = RegionHealth(
        "region-health",
        RegionHealthArgs(
            region=account.region,
            load_balancer=balancer.metric_name,
            target_group=balancer.target_metric_name,
        ),
        account.options(),
    )
    return SharedHost(
        host=account.host_name(latency.domain),
        nearest=Nearest(region=account.region, check_id=health.check_id),
    )


def other_regions(spec: HostingSpec) -> dict[str, pulumi.StackReference]:
    """The stacks that serve the same API, by name."""
    stacks = [] if spec.edge.latency_routing is None else spec.edge.latency_routing.stacks
    project = f"{pulumi.get_organization()}/{pulumi.get_project()}"
    return {stack: pulumi.StackReference(f"{project}/{stack}") for stack in stacks}


def secret_of_edge(
    spec: HostingSpec, others: Mapping[str, pulumi.StackReference]
) -> pulumi.Output[str] | None:
    """What the distribution of another stack adds to each request; None when there is none."""
    latency = spec.edge.latency_routing
    if latency is None or latency.cdn_stack is None:
        return None
    return others[latency.cdn_stack].require_output(_SECRET)


def said_to_regions(
    spec: HostingSpec,
    account: AwsAccount,
    others: Mapping[str, pulumi.StackReference],
    secret: pulumi.Input[str] | None,
) -> dict[str, Any]:
    """Outputs that the stacks of other regions ask for, once theirs go with this one.

    Raises:
        SpecError: within an output: another stack has another name, or the same region.
    """
    latency = spec.edge.latency_routing
    if latency is None:
        return {}
    own = {"region": account.region, "name": latency.domain.name}
    theirs = {stack: other.get_output(_SAID) for stack, other in others.items()}
    known: pulumi.Output[Any] = pulumi.Output.from_input(theirs)
    said = known.apply(lambda said: _held_together(own, said))
    return {_SAID: said, **({} if secret is None else {_SECRET: pulumi.Output.secret(secret)})}


def _held_together(
    own: dict[str, str], theirs: Mapping[str, Mapping[str, str] | None]
) -> dict[str, str]:
    for stack, said in theirs.items():
        where = f"berth:edge.latency_routing.stacks: {stack}"
        if said is None:
            raise SpecError.of(
                f"{where} has no edge.latency_routing of its own; give it one, and `up` it"
            )
        if said["name"] != own["name"]:
            raise SpecError.of(f"{where} serves {said['name']}, not {own['name']}")
        if said["region"] == own["region"]:
            raise SpecError.of(f"{where} is in {own['region']} too; a region has one record")
    return own
