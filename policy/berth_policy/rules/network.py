"""Rules for network access."""

from collections.abc import Iterator
from typing import Any

from berth_policy.addresses import find_excess
from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, get_list

_GROUP = "aws:ec2/securityGroup:SecurityGroup"
_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
_VPC = "aws:ec2/vpc:Vpc"
_FLOW_LOG = "aws:ec2/flowLog:FlowLog"
_CIDR_KEYS = ("cidrBlocks", "ipv6CidrBlocks", "cidrIpv4", "cidrIpv6")


def _ingress_rules(resource: Resource) -> list[Any]:
    """Return the rules for incoming traffic of a security group, or of a rule as a resource."""
    if resource.type == _GROUP:
        return get_list(resource.props, "ingress")
    if resource.type == _GROUP_RULE and resource.get("type") == "egress":
        return []
    return [resource.props]


def _sources(rule: Any) -> list[str]:
    return [str(one) for key in _CIDR_KEYS for one in get_list(rule, key)]


def _check_ingress(resource: Resource, _: Stack) -> Iterator[str]:
    rules = _ingress_rules(resource)
    for rule in rules:
        if excess := find_excess(_sources(rule)):
            yield (
                f"ports {rule.get('fromPort')} to {rule.get('toPort')} are open to most of the "
                f"internet: {excess}"
            )
            return
    if excess := find_excess(source for rule in rules for source in _sources(rule)):
        yield f"its rules together are open to most of the internet: {excess}"


def _check_ingress_together(group: Resource, stack: Stack) -> Iterator[str]:
    rules = [
        *stack.related(group, _GROUP_RULE, "securityGroupId"),
        *stack.related(group, _INGRESS, "securityGroupId"),
    ]
    sources = [source for one in [group, *rules] for rule in _ingress_rules(one)
               for source in _sources(rule)]  # fmt: skip
    has_excess = any(find_excess(_sources(rule)) for one in rules for rule in _ingress_rules(one))
    if not has_excess and (excess := find_excess(sources)):
        yield f"its rules together are open to most of the internet: {excess}"


def _check_default_group(vpc: Resource, stack: Stack) -> Iterator[str]:
    groups = stack.related(vpc, _DEFAULT_GROUP, "vpcId")
    if not groups:
        yield "members of its default security group can reach each other"
    for group in groups:
        if group.get("ingress") not in (None, [], UNKNOWN) or (
            group.get("egress") not in (None, [], UNKNOWN)
        ):
            yield "its default security group has rules"


def _check_flow_log(vpc: Resource, stack: Stack) -> Iterator[str]:
    if not stack.related(vpc, _FLOW_LOG, "vpcId"):
        yield "it has no flow log"


RULES = (
    Rule(
        id="no-open-ingress",
        severity="critical",
        types=(_GROUP, _GROUP_RULE, _INGRESS),
        description="Security groups do not admit most of the internet: at most one IPv4 /8 or "
        "IPv6 /32 of public addresses, all ranges of a group together.",
        remedy="Specify the addresses or the security group that need access.",
        check=_check_ingress,
    ),
    Rule(
        id="no-open-ingress-together",
        severity="critical",
        types=(_GROUP,),
        needs_stack=True,
        description="Separate rules of one security group do not together admit most of the "
        "internet.",
        remedy="Specify the addresses or the security group that need access.",
        check=_check_ingress_together,
    ),
    Rule(
        id="default-security-group-empty",
        severity="medium",
        types=(_VPC,),
        needs_stack=True,
        description="The default security group of a VPC has no rules.",
        remedy="Declare an ec2.DefaultSecurityGroup for the VPC, without rules.",
        check=_check_default_group,
    ),
    Rule(
        id="vpc-flow-log",
        severity="medium",
        types=(_VPC,),
        needs_stack=True,
        description="VPCs have a flow log.",
        remedy="Declare an ec2.FlowLog for the VPC.",
        check=_check_flow_log,
    ),
)
