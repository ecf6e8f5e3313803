"""Rules for network access."""

from collections.abc import Iterator
from typing import Any

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, require_one_of

_GROUP = "aws:ec2/securityGroup:SecurityGroup"
_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
_VPC = "aws:ec2/vpc:Vpc"
_FLOW_LOG = "aws:ec2/flowLog:FlowLog"
_ANY_ADDRESS = ("0.0.0.0/0", "::/0")


def _check_ingress(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.type == _GROUP_RULE and resource.get("type") == "egress":
        return
    rules = resource.get("ingress", []) if resource.type == _GROUP else [resource.props]
    for rule in [] if rules is UNKNOWN else rules:
        if rule is not UNKNOWN and any(address in _ANY_ADDRESS for address in _sources(rule)):
            yield f"ports {rule.get('fromPort')} to {rule.get('toPort')} are open to every address"


def _sources(rule: Any) -> Iterator[Any]:
    for key in ("cidrBlocks", "ipv6CidrBlocks", "cidrIpv4", "cidrIpv6"):
        value = rule.get(key) or ()
        yield from value if isinstance(value, list) else (value,)


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
        description="Security groups do not admit every address.",
        remedy="Specify the addresses or the security group that need access.",
        check=_check_ingress,
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
    Rule(
        id="load-balancer-internal",
        severity="high",
        types=("aws:lb/loadBalancer:LoadBalancer",),
        description="Load balancers are internal. The public entry point is the API with its "
        "firewall.",
        remedy="Set internal to true.",
        check=require_one_of("internal", True),
    ),
)
