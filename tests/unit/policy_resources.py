"""Resources that comply with the security baseline, and builders for variants of them."""

import copy
import json
from collections.abc import Callable
from typing import Any

from berth_policy.rule import UNKNOWN, Resource, Stack

BUCKET = "aws:s3/bucket:Bucket"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
LOGGING = "aws:s3/bucketLogging:BucketLogging"
REPOSITORY = "aws:ecr/repository:Repository"
KEY = "aws:kms/key:Key"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
TOPIC = "aws:sns/topic:Topic"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
VPC = "aws:ec2/vpc:Vpc"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
FLOW_LOG = "aws:ec2/flowLog:FlowLog"
BALANCER = "aws:lb/loadBalancer:LoadBalancer"
ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
USER = "aws:iam/user:User"
ACCESS_KEY = "aws:iam/accessKey:AccessKey"
CLUSTER = "aws:eks/cluster:Cluster"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
NODES = "aws:eks/nodeGroup:NodeGroup"
API = "aws:apigateway/restApi:RestApi"
STAGE = "aws:apigateway/stage:Stage"
SETTINGS = "aws:apigateway/methodSettings:MethodSettings"
FIREWALL = "aws:wafv2/webAclAssociation:WebAclAssociation"
DOMAIN = "aws:apigateway/domainName:DomainName"
EDGE = "aws:cloudfront/distribution:Distribution"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
POD = "kubernetes:core/v1:Pod"
CRON_JOB = "kubernetes:batch/v1:CronJob"
NAMESPACE = "kubernetes:core/v1:Namespace"
NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
DIGEST = "@sha256:" + "0" * 64


def resource(kind: str, name: str, props: Any = None, **more: Any) -> Resource:
    """Return a resource."""
    return Resource(type=kind, name=name, urn=f"urn:{kind}::{name}", props=props or {}, **more)


def related(kind: str, target: Resource, key: str, props: Any) -> Resource:
    """Return a resource whose property `key` is an unknown output of `target`, as in a preview."""
    references = {key: frozenset({target.urn})}
    return resource(kind, target.name, {key: UNKNOWN, **props}, references=references)


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, target: Any, **more: Any) -> str:
    return policy({"Effect": "Allow", "Action": action, "Resource": target, **more})


bucket = resource(BUCKET, "data", protect=True)
_log = resource(BUCKET, "data-log", protect=True)
vpc = resource(VPC, "network")
stage = resource(STAGE, "api", {"restApi": "a", "accessLogSettings": {"destinationArn": "arn"}})
_REQUIRE_TLS = policy(
    {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}, "Action": "s3:*"}
)


def encryption(target: Resource, algorithm: str) -> Resource:
    rule = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": algorithm}}
    return related(ENCRYPTION, target, "bucket", {"rules": [rule]})


CONTAINER: dict[str, Any] = {
    "name": "berth",
    "image": f"registry/digits{DIGEST}",
    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    "env": [
        {"name": "API_KEY_FILE", "value": "/run/key"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "x", "key": "token"}}},
    ],
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
}
POD_SPEC: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [CONTAINER],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def deployment(change: Callable[[dict[str, Any]], Any] | None = None, name: str = "d") -> Resource:
    """Return a compliant Deployment, after `change` has modified its pod's specification."""
    pod = copy.deepcopy(POD_SPEC)
    if change is not None:
        change(pod)
    return resource(DEPLOYMENT, name, {"spec": {"template": {"spec": pod}}})


def container(**changes: Any) -> Resource:
    """Return a Deployment with a modified container."""
    return deployment(lambda pod: pod["containers"][0].update(changes))


def security(**changes: Any) -> Resource:
    """Return a Deployment with a modified securityContext."""
    return deployment(lambda pod: pod["containers"][0]["securityContext"].update(changes))


def openapi(method: dict[str, Any], path: str = "/models/{model}/infer") -> Resource:
    return resource(API, "api", {"body": json.dumps({"paths": {path: {"post": method}}})})


valid_distribution = {
    "webAclId": "arn",
    "defaultCacheBehavior": {"viewerProtocolPolicy": "https-only"},
    "viewerCertificate": {"minimumProtocolVersion": "TLSv1.2_2021"},
}
valid_template = {
    "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
    "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true"}}],
}
valid_cluster = {
    "encryptionConfig": {"resources": ["secrets"]},
    "enabledClusterLogTypes": ["api", "audit", "authenticator", "controllerManager", "scheduler"],
    "vpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["192.0.2.0/24"]},
    "accessConfig": {"authenticationMode": "API"},
}
valid_repository = {
    "imageTagMutability": "IMMUTABLE",
    "imageScanningConfiguration": {"scanOnPush": True},
    "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": "arn"}],
}
_valid_namespace = {
    "metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
}
namespace = resource(NAMESPACE, "n", _valid_namespace)

# These resources together break no rule.
COMPLIANT: list[Resource] = [
    bucket,
    related(
        BLOCK,
        bucket,
        "bucket",
        {
            "blockPublicAcls": True,
            "blockPublicPolicy": True,
            "ignorePublicAcls": True,
            "restrictPublicBuckets": True,
        },
    ),
    related(VERSIONING, bucket, "bucket", {"versioningConfiguration": {"status": "Enabled"}}),
    encryption(bucket, "aws:kms"),
    related(BUCKET_POLICY, bucket, "bucket", {"policy": UNKNOWN}),
    resource(REPOSITORY, "digits", valid_repository, protect=True),
    resource(KEY, "k", {"enableKeyRotation": True}, protect=True),
    resource(LOG_GROUP, "l", {"kmsKeyId": UNKNOWN, "retentionInDays": 14}),
    resource(TOPIC, "t", {"kmsMasterKeyId": UNKNOWN}),
    resource(GROUP, "g", {"ingress": [{"cidrBlocks": ["10.0.0.0/8"], "fromPort": 443}]}),
    resource(GROUP_RULE, "g", {"type": "egress", "cidrBlocks": ["0.0.0.0/0"]}),
    resource(GROUP_RULE, "i", {"type": "ingress", "sourceSecurityGroupId": UNKNOWN}),
    vpc,
    related(DEFAULT_GROUP, vpc, "vpcId", {}),
    related(FLOW_LOG, vpc, "vpcId", {}),
    resource(BALANCER, "b", {"internal": True}),
    resource(
        ROLE, "r", {"assumeRolePolicy": policy({"Effect": "Allow", "Principal": {"Service": "x"}})}
    ),
    resource(ROLE_POLICY, "resource", {"policy": allow(["s3:GetObject"], "arn:aws:s3:::b/*")}),
    resource(ROLE_POLICY, "read-only", {"policy": allow(["ec2:DescribeInstances"], "*")}),
    resource(
        ROLE_POLICY,
        "condition",
        {"policy": allow("a:B", "*", Condition={"StringEquals": {"aws:ResourceTag/a": "b"}})},
    ),
    resource(ROLE_POLICY, "later", {"policy": UNKNOWN}),
    resource(ATTACHMENT, "a", {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"}),
    resource(CLUSTER, "c", valid_cluster, protect=True),
    resource(TEMPLATE, "t", valid_template),
    resource(NODES, "n", {}),
    openapi({"security": [{"key": []}]}),
    openapi({}, "/health/live"),
    stage,
    resource(
        SETTINGS,
        "api",
        {"restApi": "a", "methodPath": "*/*", "settings": {"throttlingRateLimit": 5}},
    ),
    related(FIREWALL, stage, "resourceArn", {}),
    resource(DOMAIN, "d", {"securityPolicy": "TLS_1_2"}),
    resource(EDGE, "e", valid_distribution),
    deployment(),
    Resource(
        type=DEPLOYMENT,
        name="controller",
        urn=f"urn:pulumi:s::p::berth:kubernetes:Traefik${DEPLOYMENT}::controller",
        props={"spec": {"template": {"spec": {**POD_SPEC, "automountServiceAccountToken": True}}}},
    ),
    resource(POD, "p", {"spec": POD_SPEC}),
    namespace,
    resource(
        NETWORK_POLICY,
        "n-default-deny",
        {"metadata": {"namespace": "n"}, "spec": {"policyTypes": ["Ingress", "Egress"]}},
    ),
]


def _log_bucket() -> list[Resource]:
    """Return a bucket for access logs, with the only encryption that S3 supports there."""
    return [
        _log,
        related(LOGGING, _log, "targetBucket", {}),
        encryption(_log, "AES256"),
    ]


COMPLIANT_LOG_BUCKET = _log_bucket()


def protected_stack(resources: list[Resource]) -> Stack:
    """Return a stack whose configuration has `berth:protect` and names two accounts."""
    return Stack(
        resources=resources,
        protect=True,
        own_accounts=frozenset({"111111111111"}),
        trusted_accounts=frozenset({"222222222222"}),
    )
