"""Who reaches what over the network."""

from collections.abc import Iterator
from typing import Any

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, unless

_GROUP = "aws:ec2/securityGroup:SecurityGroup"
_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_DEFAULT = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
_VPC = "aws:ec2/vpc:Vpc"
_FLOW_LOG = "aws:ec2/flowLog:FlowLog"
_EVERYBODY = ("0.0.0.0/0", "::/0")


def _open_ingress(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.type == _GROUP_RULE and resource.at("type") == "egress":
        return
    rules = resource.at("ingress", []) if resource.type == _GROUP else [resource.props]
    for rule in [] if rules is UNKNOWN else rules:
        if rule is not UNKNOWN and any(address in _EVERYBODY for address in _from(rule)):
            yield f"ports {rule.get('fromPort')} to {rule.get('toPort')} are open to everybody"


def _from(rule: Any) -> Iterator[Any]:
    for key in ("cidrBlocks", "ipv6CidrBlocks", "cidrIpv4", "cidrIpv6"):
        found = rule.get(key) or ()
        yield from found if isinstance(found, list) else (found,)


def _default_group(vpc: Resource, stack: Stack) -> Iterator[str]:
    groups = stack.about(vpc, _DEFAULT, "vpcId")
    if not groups:
        yield "its default security group is as AWS made it: members reach each other"
    for group in groups:
        if group.at("ingress") not in (None, [], UNKNOWN) or (
            group.at("egress") not in (None, [], UNKNOWN)
        ):
            yield "its default security group has rules"


def _flow_log(vpc: Resource, stack: Stack) -> Iterator[str]:
    if not stack.about(vpc, _FLOW_LOG, "vpcId"):
        yield "nothing records who talked to whom"


RULES = (
    Rule(
        id="no-open-ingress",
        severity="critical",
        types=(_GROUP, _GROUP_RULE, _INGRESS),
        says="No security group lets everybody in.",
        remedy="Name the addresses, or the security group, that need to get in.",
        check=_open_ingress,
    ),
    Rule(
        id="default-security-group-empty",
        severity="medium",
        types=(_VPC,),
        whole=True,
        says="A VPC's default security group lets nothing through.",
        remedy="Declare an ec2.DefaultSecurityGroup for it, without rules.",
        check=_default_group,
    ),
    Rule(
        id="vpc-flow-log",
        severity="medium",
        types=(_VPC,),
        whole=True,
        says="A VPC keeps a flow log.",
        remedy="Declare an ec2.FlowLog for it.",
        check=_flow_log,
    ),
    Rule(
        id="balancer-internal",
        severity="high",
        types=("aws:lb/loadBalancer:LoadBalancer",),
        says="Balancers have no public address: the way in is the API, with its firewall.",
        remedy="Set internal to true.",
        check=unless("internal", True),
    ),
)
