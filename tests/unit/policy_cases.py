"""For each rule of the baseline: what keeps it, and what breaks it, each in one way."""

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


def made(kind: str, name: str, props: Any = None, **more: Any) -> Resource:
    """A resource of a stack."""
    return Resource(type=kind, name=name, urn=f"urn:{kind}::{name}", props=props or {}, **more)


def _about(kind: str, target: Resource, key: str, props: Any) -> Resource:
    """One whose property `key` comes from `target`, not known yet, as in a first preview."""
    refers = {key: frozenset({target.urn})}
    return made(kind, target.name, {key: UNKNOWN, **props}, refers=refers)


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _allow(action: Any, resource: Any, **more: Any) -> str:
    return _policy({"Effect": "Allow", "Action": action, "Resource": resource, **more})


_bucket = made(BUCKET, "data", protect=True)
_log = made(BUCKET, "data-log", protect=True)
_vpc = made(VPC, "network")
_stage = made(STAGE, "api", {"restApi": "a", "accessLogSettings": {"destinationArn": "arn"}})
_OVER_TLS = _policy(
    {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}, "Action": "s3:*"}
)


def _encryption(target: Resource, algorithm: str) -> Resource:
    rule = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": algorithm}}
    return _about(ENCRYPTION, target, "bucket", {"rules": [rule]})


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
    """A Deployment that keeps every rule, but for `change`, which gets its pod's spec."""
    pod = copy.deepcopy(POD_SPEC)
    if change is not None:
        change(pod)
    return made(DEPLOYMENT, name, {"spec": {"template": {"spec": pod}}})


def container(**changes: Any) -> Resource:
    """A Deployment whose container has other values."""
    return deployment(lambda pod: pod["containers"][0].update(changes))


def security(**changes: Any) -> Resource:
    """A Deployment whose container has another securityContext."""
    return deployment(lambda pod: pod["containers"][0]["securityContext"].update(changes))


def _openapi(method: dict[str, Any], path: str = "/models/{model}/infer") -> Resource:
    return made(API, "api", {"body": json.dumps({"paths": {path: {"post": method}}})})


_edge_right = {
    "webAclId": "arn",
    "defaultCacheBehavior": {"viewerProtocolPolicy": "https-only"},
    "viewerCertificate": {"minimumProtocolVersion": "TLSv1.2_2021"},
}
_template_right = {
    "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
    "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true"}}],
}
_cluster_right = {
    "encryptionConfig": {"resources": ["secrets"]},
    "enabledClusterLogTypes": ["api", "audit", "authenticator", "controllerManager", "scheduler"],
    "vpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["192.0.2.0/24"]},
    "accessConfig": {"authenticationMode": "API"},
}
_repository_right = {
    "imageTagMutability": "IMMUTABLE",
    "imageScanningConfiguration": {"scanOnPush": True},
    "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": "arn"}],
}
_namespace_right = {
    "metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
}
_namespace = made(NAMESPACE, "n", _namespace_right)

# Together these break no rule.
KEPT: list[Resource] = [
    _bucket,
    _about(
        BLOCK,
        _bucket,
        "bucket",
        {
            "blockPublicAcls": True,
            "blockPublicPolicy": True,
            "ignorePublicAcls": True,
            "restrictPublicBuckets": True,
        },
    ),
    _about(VERSIONING, _bucket, "bucket", {"versioningConfiguration": {"status": "Enabled"}}),
    _encryption(_bucket, "aws:kms"),
    _about(BUCKET_POLICY, _bucket, "bucket", {"policy": UNKNOWN}),
    made(REPOSITORY, "digits", _repository_right, protect=True),
    made(KEY, "k", {"enableKeyRotation": True}, protect=True),
    made(LOG_GROUP, "l", {"kmsKeyId": UNKNOWN, "retentionInDays": 14}),
    made(TOPIC, "t", {"kmsMasterKeyId": UNKNOWN}),
    made(GROUP, "g", {"ingress": [{"cidrBlocks": ["10.0.0.0/8"], "fromPort": 443}]}),
    made(GROUP_RULE, "g", {"type": "egress", "cidrBlocks": ["0.0.0.0/0"]}),
    made(GROUP_RULE, "i", {"type": "ingress", "sourceSecurityGroupId": UNKNOWN}),
    _vpc,
    _about(DEFAULT_GROUP, _vpc, "vpcId", {}),
    _about(FLOW_LOG, _vpc, "vpcId", {}),
    made(BALANCER, "b", {"internal": True}),
    made(ROLE, "r", {"assumeRolePolicy": _policy(
        {"Effect": "Allow", "Principal": {"Service": "x"}})}),
    made(ROLE_POLICY, "one", {"policy": _allow(["s3:GetObject"], "arn:aws:s3:::b/*")}),
    made(ROLE_POLICY, "asks", {"policy": _allow(["ec2:DescribeInstances"], "*")}),
    made(ROLE_POLICY, "narrowed", {"policy": _allow("a:B", "*", Condition={"StringEquals": {}})}),
    made(ROLE_POLICY, "later", {"policy": UNKNOWN}),
    made(ATTACHMENT, "a", {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"}),
    made(CLUSTER, "c", _cluster_right, protect=True),
    made(TEMPLATE, "t", _template_right),
    made(NODES, "n", {}),
    _openapi({"security": [{"key": []}]}),
    _openapi({}, "/health/live"),
    _stage,
    made(SETTINGS, "api", {
        "restApi": "a", "methodPath": "*/*", "settings": {"throttlingRateLimit": 5}}),
    _about(FIREWALL, _stage, "resourceArn", {}),
    made(DOMAIN, "d", {"securityPolicy": "TLS_1_2"}),
    made(EDGE, "e", _edge_right),
    deployment(),
    deployment(lambda pod: pod.update(automountServiceAccountToken=True), name="traefik"),
    made(POD, "p", {"spec": POD_SPEC}),
    _namespace,
    made(
        NETWORK_POLICY,
        "n-default-deny",
        {"metadata": {"namespace": "n"}, "spec": {"policyTypes": ["Ingress", "Egress"]}},
    ),
]  # fmt: skip


def _with_log() -> list[Resource]:
    """A bucket that takes another's access log, encrypted as S3 wants it."""
    return [
        _log,
        _about(LOGGING, _log, "targetBucket", {}),
        _encryption(_log, "AES256"),
    ]


# Rule -> stacks that break it, once each, in the resource that comes first.
BROKEN: dict[str, list[list[Resource]]] = {
    "s3-no-public-access": [
        [_bucket],
        [_bucket, _about(BLOCK, _bucket, "bucket", {"blockPublicAcls": True})],
    ],
    "s3-versioned": [
        [_bucket],
        [
            _bucket,
            _about(
                VERSIONING, _bucket, "bucket", {"versioningConfiguration": {"status": "Suspended"}}
            ),
        ],
    ],
    "s3-encrypted": [[_bucket], [_bucket, _encryption(_bucket, "AES256")]],
    "s3-tls-only": [
        [_bucket],
        [_bucket, _about(BUCKET_POLICY, _bucket, "bucket", {"policy": _allow("s3:*", "*")})],
    ],
    "ecr-immutable": [
        [made(REPOSITORY, "r", {**_repository_right, "imageTagMutability": "MUTABLE"})]
    ],
    "ecr-scanned": [
        [made(REPOSITORY, "r", {**_repository_right, "imageScanningConfiguration": {}})]
    ],
    "ecr-encrypted": [
        [made(REPOSITORY, "r", {**_repository_right, "encryptionConfigurations": []})]
    ],
    "kms-rotates": [[made(KEY, "k")], [made(KEY, "k", {"enableKeyRotation": False})]],
    "logs-encrypted": [[made(LOG_GROUP, "l", {"retentionInDays": 14})]],
    "logs-kept-for-a-time": [[made(LOG_GROUP, "l", {"kmsKeyId": "arn"})]],
    "sns-encrypted": [[made(TOPIC, "t")]],
    "protected": [[made(kind, "x")] for kind in (KEY, CLUSTER, REPOSITORY, BUCKET)],
    "no-open-ingress": [
        [made(GROUP, "g", {"ingress": [{"cidrBlocks": ["0.0.0.0/0"], "fromPort": 22}]})],
        [made(GROUP, "g", {"ingress": [{"ipv6CidrBlocks": ["::/0"]}]})],
        [made(GROUP_RULE, "g", {"type": "ingress", "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]})],
        [made(INGRESS, "g", {"cidrIpv4": "0.0.0.0/0"})],
    ],
    "default-security-group-empty": [
        [_vpc],
        [_vpc, _about(DEFAULT_GROUP, _vpc, "vpcId", {"ingress": [{"self": True}]})],
    ],
    "vpc-flow-log": [[_vpc]],
    "balancer-internal": [[made(BALANCER, "b")], [made(BALANCER, "b", {"internal": False})]],
    "iam-no-wildcard-action": [
        [made(ROLE_POLICY, "p", {"policy": _allow("*", "arn")})],
        [made(ROLE_POLICY, "p", {"policy": _allow(["s3:GetObject", "s3:*"], "arn")})],
        [made(ROLE_POLICY, "p", {"policy": _policy({"Effect": "Allow", "NotAction": "iam:*"})})],
    ],
    "iam-no-wildcard-resource": [
        [made(ROLE_POLICY, "p", {"policy": _allow(["ec2:DescribeTags", "s3:GetObject"], ["*"])})],
        [made(ROLE_POLICY, "p", {"policy": _policy(
            {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn"})})],
    ],
    "iam-no-full-rights": [
        [made(ATTACHMENT, "a", {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"})]
    ],
    "iam-known-principals": [
        [made(ROLE, "r", {"assumeRolePolicy": _policy({"Effect": "Allow", "Principal": "*"})})],
        [made(ROLE, "r", {"assumeRolePolicy": _policy(
            {"Effect": "Allow", "Principal": {"AWS": ["*"]}})})],
    ],
    "iam-no-users": [[made(USER, "u")], [made(ACCESS_KEY, "u")]],
    "eks-secrets-encrypted": [[made(CLUSTER, "c", {**_cluster_right, "encryptionConfig": None})]],
    "eks-logged": [[made(CLUSTER, "c", {**_cluster_right, "enabledClusterLogTypes": ["api"]})]],
    "eks-endpoint-not-open": [
        [made(CLUSTER, "c", {**_cluster_right, "vpcConfig": {}})],
        [made(CLUSTER, "c", {**_cluster_right, "vpcConfig": {"publicAccessCidrs": ["0.0.0.0/0"]}})],
    ],
    "eks-access-entries": [[made(CLUSTER, "c", {**_cluster_right, "accessConfig": None})]],
    "imds-v2": [
        [made(TEMPLATE, "t", {"blockDeviceMappings": []})],
        [made(TEMPLATE, "t", {"metadataOptions": {
            "httpTokens": "required", "httpPutResponseHopLimit": 2}})],
    ],
    "disks-encrypted": [
        [made(TEMPLATE, "t", {**_template_right, "blockDeviceMappings": [{"ebs": {}}]})]
    ],
    "nodes-without-ssh": [
        [made(TEMPLATE, "t", {**_template_right, "keyName": "mine"})],
        [made(NODES, "n", {"remoteAccess": {"ec2SshKey": "mine"}})],
    ],
    "api-key-required": [[_openapi({})]],
    "api-logged": [[made(STAGE, "api", {"restApi": "a"})]],
    "api-throttled": [
        [_stage],
        [_stage, made(SETTINGS, "api", {"restApi": "a", "methodPath": "x/GET"})],
        [_stage, made(SETTINGS, "api", {"restApi": "a", "methodPath": "*/*", "settings": {
            "throttlingRateLimit": -1}})],
    ],
    "api-firewall": [[_stage]],
    "api-tls": [[made(DOMAIN, "d", {"securityPolicy": "TLS_1_0"})]],
    "edge-https": [[made(EDGE, "e", {**_edge_right, "defaultCacheBehavior": {
        "viewerProtocolPolicy": "allow-all"}})]],
    "edge-tls": [[made(EDGE, "e", {**_edge_right, "viewerCertificate": {
        "minimumProtocolVersion": "TLSv1.1_2016"}})]],
    "edge-firewall": [[made(EDGE, "e", {**_edge_right, "webAclId": None})]],
    "pod-not-root": [
        [deployment(lambda pod: pod["securityContext"].pop("runAsNonRoot"))],
        [security(runAsNonRoot=False)],
    ],
    "pod-read-only-root": [[security(readOnlyRootFilesystem=None)]],
    "pod-no-escalation": [
        [security(allowPrivilegeEscalation=None)],
        [security(privileged=True)],
    ],
    "pod-no-capabilities": [
        [security(capabilities=None)],
        [security(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]})],
    ],
    "pod-seccomp": [
        [security(seccompProfile={"type": "Unconfined"})],
        [deployment(lambda pod: pod.update(securityContext={"runAsNonRoot": True}))],
    ],
    "pod-limits": [[container(resources={"limits": {"cpu": "1"}})], [container(resources=None)]],
    "pod-image-fixed": [[container(image="digits:latest")], [container(image="host:5000/digits")]],
    "pod-image-by-digest": [[container(image="traefik:v3.6.0")]],
    "pod-no-secret-in-environment": [
        [container(env=[{"name": "DB_PASSWORD", "value": "clear"}])],
        [container(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "clear"}])],
    ],
    "pod-apart-from-node": [
        [deployment(lambda pod: pod.update(hostNetwork=True))],
        [deployment(lambda pod: pod["volumes"].append({"name": "h", "hostPath": {"path": "/"}}))],
    ],
    "pod-no-token": [
        [deployment(lambda pod: pod.pop("automountServiceAccountToken"))],
        [made(CRON_JOB, "c", {"spec": {"jobTemplate": {"spec": {"template": {"spec": {
            **POD_SPEC, "automountServiceAccountToken": True}}}}}})],
    ],
    "namespace-restricted": [[made(NAMESPACE, "n", {"metadata": {"name": "n"}})]],
    "namespace-closed": [
        [_namespace],
        [_namespace, made(NETWORK_POLICY, "n", {
            "metadata": {"namespace": "n"},
            "spec": {"policyTypes": ["Ingress", "Egress"], "egress": [{}]},
        })],
    ],
}  # fmt: skip

SOUND: dict[str, list[Resource]] = {"a bucket for access logs": _with_log()}


def stack(resources: list[Resource]) -> Stack:
    """Of a configuration with `berth:protect`."""
    return Stack(resources=resources, protect=True)
