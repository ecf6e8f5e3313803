"""AWS resources that break the security baseline, and resources that must not."""

import json
from typing import Any

from berth_policy.rule import UNKNOWN, Resource
from tests.unit.policy_resources import (
    ATTACHMENT,
    CLUSTER,
    GROUP,
    GROUP_RULE,
    INGRESS,
    KEY,
    ROLE,
    ROLE_POLICY,
    allow,
    policy,
    resource,
    valid_cluster,
)

OWN_ACCOUNT = "111111111111"
"""The account of the stack that these cases belong to."""
TRUSTED_ACCOUNT = "222222222222"
_FOREIGN = "999999999999"
_GITHUB = f"arn:aws:iam::{OWN_ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
_SUBJECT = "token.actions.githubusercontent.com:sub"
_FUNCTION = "aws:lambda/function:Function"
_TASK = "aws:ecs/taskDefinition:TaskDefinition"
_PASS_ROLE = allow("iam:PassRole", "*")
_EVERYTHING = allow("*:*", "*")
_ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"


def _policy(text: Any) -> list[Resource]:
    return [resource(ROLE_POLICY, "p", {"policy": text})]


def _inline(text: str) -> list[Resource]:
    return [resource(ROLE, "r", {"inlinePolicies": [{"name": "p", "policy": text}]})]


def _trust(principal: Any, **more: Any) -> Resource:
    text = policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more})
    return resource(ROLE, "r", {"assumeRolePolicy": text})


def _federated(*subjects: str, operator: str = "StringLike") -> Resource:
    condition = {operator: {_SUBJECT: list(subjects)}} if subjects else {}
    return _trust({"Federated": _GITHUB}, Condition=condition)


def _ingress(*cidrs: str) -> Resource:
    keys = {True: "ipv6CidrBlocks", False: "cidrBlocks"}
    rules = [{keys[":" in cidr]: [cidr], "fromPort": 443} for cidr in cidrs]
    return resource(GROUP, "g", {"ingress": rules})


def _task(**container: Any) -> Resource:
    return resource(_TASK, "t", {"containerDefinitions": json.dumps([container])})


def _function(**variables: str) -> Resource:
    return resource(_FUNCTION, "f", {"environment": {"variables": variables}})


_LISTENER = "aws:lb/listener:Listener"
_SPLIT_GROUP = resource(GROUP, "g")
_BLOCKS = [f"{first}.0.0.0/9" for first in (20, 34, 52)]


def _separate_rules(kind: str, key: str, wrap: bool) -> list[Resource]:
    return [
        Resource(
            type=kind,
            name=f"rule-{cidr}",
            urn=f"urn:{cidr}",
            props={"type": "ingress", key: [cidr] if wrap else cidr, "securityGroupId": UNKNOWN},
            references={"securityGroupId": frozenset({_SPLIT_GROUP.urn})},
        )
        for cidr in _BLOCKS
    ]


# Rule -> stacks that break it. The first resource has the violation.
ACCOUNT_VIOLATIONS: dict[str, list[list[Resource]]] = {
    "iam-no-wildcard-action": [
        _policy(_EVERYTHING),
        _policy({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn"}}),
        _policy(allow("s3:**", "arn")),
        _policy(allow("iam:Put*", "arn")),
        _policy(allow("IAM:*", "arn")),
        _policy("not JSON"),
        _inline(_EVERYTHING),
        [resource("aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy", "p",
                  {"inlinePolicy": _EVERYTHING})],
        [resource("aws-native:iam:Role", "r", {"policies": [
            {"policyName": "p", "policyDocument": json.loads(_EVERYTHING)}]})],
        _inline(policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn"})),
    ],
    "iam-no-wildcard-resource": [
        _policy(allow("s3:GetObject", "arn:aws:s3:::*")),
        _policy(allow("s3:GetObject", ["arn:*"])),
        _policy(allow("s3:GetObject", "arn:aws:*")),
        _policy(allow("s3:GetObject", "**")),
        _policy(allow("kms:Decrypt", "arn:aws:kms:*:*:key/*")),
        _policy(allow("s3:GetObject", "*", Condition={})),
        _policy(allow("s3:GetObject", "*", Condition={"StringEquals": {}})),
        _policy(allow("s3:GetObject", "*",
                      Condition={"Bool": {"aws:SecureTransport": "true"}})),
        _policy(allow("s3:GetObject", "*",
                      Condition={"StringLike": {"aws:PrincipalArn": "*"}})),
        _policy(allow("s3:GetObject", "*",
                      Condition={"StringNotEquals": {"aws:PrincipalArn": "arn:x"}})),
        _inline(policy({"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn"})),
    ],
    "iam-pass-role": [
        _policy(_PASS_ROLE),
        _policy(allow(["iam:passrole"], ["*"])),
        _policy(allow("iam:Pass*", "*")),
        _policy(allow("iam:PassRole", f"arn:aws:iam::{OWN_ACCOUNT}:role/*")),
        _policy(allow("iam:PassRole", "*", Condition={
            "StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}})),
        _policy(policy({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"})),
        _inline(_PASS_ROLE),
    ],
    "iam-no-admin-policy": [
        [resource(kind, "a", {key: value})]
        for kind, key, value in (
            (ATTACHMENT, "policyArn", "arn:aws-cn:iam::aws:policy/AdministratorAccess"),
            (ATTACHMENT, "policyArn", "arn:aws:iam::aws:policy/PowerUserAccess"),
            (ATTACHMENT, "policyArn", "arn:aws:iam::aws:policy/IAMFullAccess"),
            (ATTACHMENT, "policyArn", "arn:aws:iam::aws:policy/AmazonS3FullAccess"),
            (ATTACHMENT, "policyArn", "arn:aws:iam::aws:policy/AdministratorAccess-Amplify"),
            (ROLE, "managedPolicyArns", [_ADMIN]),
            ("aws:iam/groupPolicyAttachment:GroupPolicyAttachment", "policyArn", _ADMIN),
            ("aws:iam/userPolicyAttachment:UserPolicyAttachment", "policyArn", _ADMIN),
            ("aws:iam/policyAttachment:PolicyAttachment", "policyArn", _ADMIN),
            ("aws:ssoadmin/managedPolicyAttachment:ManagedPolicyAttachment", "managedPolicyArn",
             _ADMIN),
        )
    ],
    "iam-named-principals": [
        [_trust({"AWS": f"arn:aws:iam::{_FOREIGN}:root"})],
        [_trust({"AWS": _FOREIGN})],
        [_trust({"AWS": [f"arn:aws:iam::{OWN_ACCOUNT}:root",
                         f"arn:aws:iam::{_FOREIGN}:user/eve"]})],
        [_trust({"AWS": f"arn:aws:iam::{_FOREIGN}:root"},
                Condition={"StringEquals": {"sts:ExternalId": "x"}})],
        [_trust("*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})],
        [_trust({"AWS": "*"}, Condition={"StringLike": {"aws:PrincipalArn": "*"}})],
        [_trust({"AWS": "arn:aws:iam::*:root"})],
        [_trust({"Service": "*"})],
        [resource(ROLE, "r", {"assumeRolePolicy": policy(
            {"Effect": "Allow", "NotPrincipal": {"AWS": f"arn:aws:iam::{_FOREIGN}:root"}})})],
        [_federated()],
        [_federated("*")],
        [_federated("repo:*")],
        [_federated("repo:acme*")],
        [_federated("repo:acme/app:*", operator="StringNotLike")],
        [_federated("repo:acme/app:*", operator="StringLikeIfExists")],
        [resource(ROLE, "r", {"assumeRolePolicy": {"Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}})],
    ],
    "resource-policy-named-principals": [
        [resource(kind, "p", {"policy": policy(
            {"Effect": "Allow", "Principal": principal, "Action": "x:Y", "Resource": "arn"})})]
        for kind in (
            "aws:s3/bucketPolicy:BucketPolicy", KEY, "aws:sns/topicPolicy:TopicPolicy",
            "aws:sqs/queuePolicy:QueuePolicy", "aws:ecr/repositoryPolicy:RepositoryPolicy",
            "aws:secretsmanager/secretPolicy:SecretPolicy",
        )
        for principal in ("*", {"AWS": "*"}, {"AWS": f"arn:aws:iam::{_FOREIGN}:root"})
    ],
    "function-named-callers": [
        [resource("aws:lambda/permission:Permission", "p", {"principal": "*"})],
    ],
    "function-url-authorized": [
        [resource("aws:lambda/functionUrl:FunctionUrl", "u", {"authorizationType": "NONE"})],
    ],
    "no-open-ingress": [
        *([_ingress(cidr)] for cidr in (
            "0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/4", "::/1", "2000::/3", "10.0.0.0/7",
        )),
        [_ingress("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2")],
        [_ingress(*(f"{first}.0.0.0/9" for first in range(20, 24)))],
        [resource(GROUP, "g", {"ingress": {"cidrBlocks": ["0.0.0.0/1"]}})],
        [resource(GROUP_RULE, "g", {"type": "ingress", "cidrBlocks": ["8.0.0.0/5"]})],
        [resource(GROUP_RULE, "g", {"type": "ingress", "ipv6CidrBlocks": ["::/1"]})],
        [resource(INGRESS, "g", {"cidrIpv6": "::/0"})],
        [resource(INGRESS, "g", {"cidrIpv4": "everywhere"})],
    ],
    "no-open-ingress-together": [
        [_SPLIT_GROUP, *_separate_rules(GROUP_RULE, "cidrBlocks", True)],
        [_SPLIT_GROUP, *_separate_rules(INGRESS, "cidrIpv4", False)],
    ],
    "eks-endpoint-restricted": [
        [resource(CLUSTER, "c", {**valid_cluster, "vpcConfig": {"publicAccessCidrs": cidrs}})]
        for cidrs in (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/1"], ["::/0"])
    ],
    "load-balancer-internal": [
        [resource("aws:alb/loadBalancer:LoadBalancer", "b", {"internal": False})],
        [resource("aws:elb/loadBalancer:LoadBalancer", "b")],
    ],
    "load-balancer-tls": [
        [resource(_LISTENER, "l", {"protocol": "HTTP", "defaultActions": [{"type": "forward"}]})],
        [resource("aws:alb/listener:Listener", "l", {"defaultActions": [{"type": "forward"}]})],
    ],
    "ecs-no-host-access": [
        [_task(name="a", privileged=True)],
        [resource(_TASK, "t", {"containerDefinitions": "[]", "networkMode": "host"})],
        [resource(_TASK, "t", {"pidMode": "host"})],
        [resource(_TASK, "t", {"volumes": [{"name": "v", "hostPath": "/"}]})],
        [resource(_TASK, "t", {"containerDefinitions": "not JSON"})],
    ],
    "aws-no-secret-in-environment": [
        [_function(DB_PASSWORD="clear")],
        [_function(SETTING="ghp_" + "a" * 36)],
        [_task(name="a", environment=[{"name": "API_KEY", "value": "clear"}])],
        [resource("aws-native:ecs:TaskDefinition", "t", {"containerDefinitions": [
            {"environment": [{"name": "API_KEY", "value": "clear"}]}]})],
        [resource("aws:batch/jobDefinition:JobDefinition", "j", {"containerProperties": json.dumps(
            {"environment": [{"name": "TOKEN", "value": "clear"}]})})],
        [resource("aws:codebuild/project:Project", "c", {"environment": {"environmentVariables": [
            {"name": "NPM_TOKEN", "value": "clear", "type": "PLAINTEXT"}]}})],
        [resource("aws:apprunner/service:Service", "a", {"sourceConfiguration": {
            "imageRepository": {"imageConfiguration": {
                "runtimeEnvironmentVariables": {"SECRET": "clear"}}}}})],
        [resource("aws:sagemaker/model:Model", "m", {"primaryContainer": {
            "environment": {"HF_TOKEN": "clear"}}})],
    ],
}  # fmt: skip


def _named(name: str, part: Resource) -> Resource:
    return Resource(type=part.type, name=name, urn=f"urn:{name}", props=part.props)


# Resources that only look like violations.
ACCOUNT_COMPLIANT: list[Resource] = [
    _named("own", _trust({"AWS": f"arn:aws:iam::{OWN_ACCOUNT}:role/ci"})),
    _named("trusted", _trust({"AWS": f"arn:aws:iam::{TRUSTED_ACCOUNT}:root"})),
    _named("organization", _trust(
        {"AWS": "*"}, Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})),
    _named("workflow", _federated("repo:acme/app:ref:refs/heads/main")),
    _named("branches", _federated("repo:acme/app:*")),
    _named("key", resource("aws:kms/keyPolicy:KeyPolicy", "k", {"policy": policy(
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:Decrypt", "Resource": "*",
         "Condition": {"StringEquals": {"kms:CallerAccount": OWN_ACCOUNT}}})})),
    _named("tls", resource("aws:s3/bucketPolicy:BucketPolicy", "b", {"policy": policy(
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn"})})),
    _named("pass-one", resource(ROLE_POLICY, "p", {
        "policy": allow("iam:PassRole", f"arn:aws:iam::{OWN_ACCOUNT}:role/berth-*")})),
    _named("office", _ingress("203.0.113.0/24", "198.51.100.0/24")),
    _named("private", _ingress("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")),
    _named("public-listener", resource(_LISTENER, "l", {"protocol": "HTTP", "defaultActions": [
        {"type": "redirect", "redirect": {"protocol": "HTTPS"}}]})),
    _named("network-listener", resource(_LISTENER, "l", {"protocol": "TCP"})),
    _named("function", _function(DB_SECRET_ARN="arn:aws:secretsmanager:x:1:secret:a", LOG="INFO")),
    _named("task", _task(name="a", secrets=[{"name": "API_KEY", "valueFrom": "arn:x"}])),
    _named("build", resource("aws:codebuild/project:Project", "c", {"environment": {
        "environmentVariables": [
            {"name": "NPM_TOKEN", "value": "npm/token", "type": "SECRETS_MANAGER"}]}})),
    _named("function-url", resource("aws:lambda/functionUrl:FunctionUrl", "u",
                                    {"authorizationType": "AWS_IAM"})),
    _named("bucket-caller", resource("aws:lambda/permission:Permission", "p",
                                     {"principal": "s3.amazonaws.com"})),
]  # fmt: skip
