"""The AWS account and region of a stack, as the running program finds them."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from berth.spec import DomainSpec, HostingSpec, SpecError
from pulumi_berth.aws.certificate import HostName

# Zones in which EKS takes no subnets of a control plane:
# https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
_NOT_FOR_EKS = ["use1-az3", "usw1-az2", "cac1-az3"]
_SECRET = ("accessKey", "secretKey", "token")


@dataclass(frozen=True, kw_only=True)
class AwsAccount:
    """Where the stack's AWS resources lie.

    Attributes:
        provider: that all of them are made with; it gives each the stack's tags.
        region: such as `eu-central-1`.
        number: of the account, 12 digits.
        zones: names of the availability zones that the stack spreads over.
        tags: of every resource; for what does not inherit the provider's.
    """

    provider: aws.Provider
    region: str
    number: str
    zones: list[str]
    tags: dict[str, str]

    def options(self) -> pulumi.ResourceOptions:
        """Options of a resource in this account."""
        return pulumi.ResourceOptions(provider=self.provider)

    def host_name(self, domain: DomainSpec) -> HostName:
        """The name in its public Route 53 zone of the account.

        Raises:
            Exception: there is no such zone; the engine says so.
        """
        asked = pulumi.InvokeOptions(provider=self.provider)
        zone = aws.route53.get_zone(name=domain.zone, private_zone=False, opts=asked)
        return HostName(name=domain.name, zone_id=zone.zone_id)


def account_of(spec: HostingSpec, stack: str) -> AwsAccount:
    """Find the account that the credentials at hand belong to.

    Raises:
        SpecError: the region has fewer zones than the stack is to spread over.
    """
    tags = {"berth:stack": stack, **spec.tags}
    provider = _provider(spec.aws, tags)
    asked = pulumi.InvokeOptions(provider=provider)
    zones = aws.get_availability_zones(
        state="available",
        exclude_zone_ids=_NOT_FOR_EKS,
        filters=[
            aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])
        ],
        opts=asked,
    ).names
    wanted = spec.network.availability_zones
    region = str(spec.aws["region"])
    if len(zones) < wanted:
        raise SpecError.of(
            f"berth:network.availability_zones: {wanted} is more than {region} has for this "
            f"account; {len(zones)} or fewer"
        )
    return AwsAccount(
        provider=provider,
        region=region,
        number=aws.get_caller_identity(opts=asked).account_id,
        zones=sorted(zones)[:wanted],
        tags=tags,
    )


def _provider(settings: Mapping[str, Any], tags: dict[str, str]) -> aws.Provider:
    given = {_snake_case(key): _value(key, value) for key, value in settings.items()}
    known = inspect.signature(aws.ProviderArgs).parameters
    for key in settings:
        if _snake_case(key) not in known:
            raise SpecError.of(
                f"aws:{key}: is not a setting of the AWS provider: "
                "https://www.pulumi.com/registry/packages/aws/api-docs/provider/#inputs"
            )
    given["default_tags"] = aws.ProviderDefaultTagsArgs(tags=tags)
    return aws.Provider("aws", aws.ProviderArgs(**given))


def _snake_case(key: str) -> str:
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", key).lower()


def _value(key: str, value: Any) -> Any:
    if key in _SECRET:
        return pulumi.Output.secret(value)
    # `pulumi config set` writes a boolean as text.
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
