"""The AWS account and Region of a stack, as its Pulumi program sees them."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from berth.spec import DomainSpec, HostingSpec, SpecError
from pulumi_berth.aws.custom_domain import HostName
from pulumi_berth.aws.logs import LogSettings

# EKS accepts no control plane subnets in these zones:
# https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
ZONES_WITHOUT_EKS = ["use1-az3", "usw1-az2", "cac1-az3"]
_SECRET_SETTINGS = ("accessKey", "secretKey", "token")


@dataclass(frozen=True, kw_only=True)
class AwsAccount:
    """The account that a stack deploys to.

    Attributes:
        stack: Name of the stack. Components use it in physical names.
        provider: Provider of every AWS resource. It adds the stack's tags to each of them.
        region: Region of the stack, such as `eu-central-1`.
        number: Account ID, 12 digits.
        zones: Names of the Availability Zones that the stack uses.
        tags: Tags for resources that do not inherit the provider's tags.
    """

    stack: str
    provider: aws.Provider
    region: str
    number: str
    zones: list[str]
    tags: dict[str, str]

    def options(self) -> pulumi.ResourceOptions:
        """Return the options of a resource in this account."""
        return pulumi.ResourceOptions(provider=self.provider)

    def log_settings(self, days: int, key: pulumi.Input[str]) -> LogSettings:
        """Return the settings of the stack's log groups."""
        return LogSettings(path_prefix=f"/berth/{self.stack}", days=days, key=key)

    def host_name(self, domain: DomainSpec) -> HostName:
        """Look up the public Route 53 zone of a domain.

        Raises:
            Exception: If the account has no such zone.
        """
        opts = pulumi.InvokeOptions(provider=self.provider)
        zone = aws.route53.get_zone(name=domain.zone, private_zone=False, opts=opts)
        return HostName(name=domain.name, zone_id=zone.zone_id)


def look_up_account(spec: HostingSpec, stack: str) -> AwsAccount:
    """Return the account that the current credentials belong to.

    Raises:
        SpecError: If the Region has fewer Availability Zones than the specification requests.
    """
    tags = {"berth:stack": stack, **spec.tags}
    provider = _create_provider(spec.aws, tags)
    opts = pulumi.InvokeOptions(provider=provider)
    zones = aws.get_availability_zones(
        state="available",
        exclude_zone_ids=ZONES_WITHOUT_EKS,
        filters=[
            aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])
        ],
        opts=opts,
    ).names
    count = spec.network.availability_zones
    region = str(spec.aws["region"])
    if len(zones) < count:
        raise SpecError.of(
            f"berth:network.availability_zones: {count} exceeds the number of zones that this "
            f"account can use in {region}; use {len(zones)} or fewer"
        )
    return AwsAccount(
        stack=stack,
        provider=provider,
        region=region,
        number=aws.get_caller_identity(opts=opts).account_id,
        zones=sorted(zones)[:count],
        tags=tags,
    )


def _create_provider(settings: Mapping[str, Any], tags: dict[str, str]) -> aws.Provider:
    arguments = {_snake_case(key): _argument(key, value) for key, value in settings.items()}
    known = inspect.signature(aws.ProviderArgs).parameters
    for key in settings:
        if _snake_case(key) not in known:
            raise SpecError.of(
                f"aws:{key}: is not a setting of the AWS provider. Remove it, or choose one from "
                "https://www.pulumi.com/registry/packages/aws/api-docs/provider/#inputs"
            )
    arguments["default_tags"] = aws.ProviderDefaultTagsArgs(tags=tags)
    return aws.Provider("aws", aws.ProviderArgs(**arguments))


def _snake_case(key: str) -> str:
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", key).lower()


def _argument(key: str, value: Any) -> Any:
    if key in _SECRET_SETTINGS:
        return pulumi.Output.secret(value)
    # `pulumi config set` writes booleans as text.
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
