"""For each rule of the security baseline, stacks that break it."""

from berth_policy.rule import Resource
from tests.unit.policy_resources import (
    ACCESS_KEY,
    ATTACHMENT,
    BALANCER,
    BLOCK,
    BUCKET,
    BUCKET_POLICY,
    CLUSTER,
    CRON_JOB,
    DEFAULT_GROUP,
    DOMAIN,
    EDGE,
    GROUP,
    GROUP_RULE,
    INGRESS,
    KEY,
    LOG_GROUP,
    NAMESPACE,
    NETWORK_POLICY,
    NODES,
    POD_SPEC,
    REPOSITORY,
    ROLE,
    ROLE_POLICY,
    SETTINGS,
    STAGE,
    TEMPLATE,
    TOPIC,
    USER,
    VERSIONING,
    allow,
    bucket,
    container,
    deployment,
    encryption,
    namespace,
    openapi,
    policy,
    related,
    resource,
    security,
    stage,
    valid_cluster,
    valid_distribution,
    valid_repository,
    valid_template,
    vpc,
)

# Rule -> stacks that break it. The first resource has the violation.
VIOLATIONS: dict[str, list[list[Resource]]] = {
    "s3-no-public-access": [
        [bucket],
        [bucket, related(BLOCK, bucket, "bucket", {"blockPublicAcls": True})],
    ],
    "s3-versioned": [
        [bucket],
        [
            bucket,
            related(
                VERSIONING, bucket, "bucket", {"versioningConfiguration": {"status": "Suspended"}}
            ),
        ],
    ],
    "s3-encrypted": [[bucket], [bucket, encryption(bucket, "AES256")]],
    "s3-tls-only": [
        [bucket],
        [bucket, related(BUCKET_POLICY, bucket, "bucket", {"policy": allow("s3:*", "*")})],
    ],
    "ecr-immutable": [
        [resource(REPOSITORY, "r", {**valid_repository, "imageTagMutability": "MUTABLE"})]
    ],
    "ecr-scanned": [
        [resource(REPOSITORY, "r", {**valid_repository, "imageScanningConfiguration": {}})]
    ],
    "ecr-encrypted": [
        [resource(REPOSITORY, "r", {**valid_repository, "encryptionConfigurations": []})]
    ],
    "kms-rotates": [[resource(KEY, "k")], [resource(KEY, "k", {"enableKeyRotation": False})]],
    "logs-encrypted": [[resource(LOG_GROUP, "l", {"retentionInDays": 14})]],
    "logs-retention": [[resource(LOG_GROUP, "l", {"kmsKeyId": "arn"})]],
    "sns-encrypted": [[resource(TOPIC, "t")]],
    "deletion-protection": [[resource(kind, "x")] for kind in (KEY, CLUSTER, REPOSITORY, BUCKET)],
    "no-open-ingress": [
        [resource(GROUP, "g", {"ingress": [{"cidrBlocks": ["0.0.0.0/0"], "fromPort": 22}]})],
        [resource(GROUP, "g", {"ingress": [{"ipv6CidrBlocks": ["::/0"]}]})],
        [resource(GROUP_RULE, "g", {"type": "ingress", "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]})],
        [resource(INGRESS, "g", {"cidrIpv4": "0.0.0.0/0"})],
    ],
    "default-security-group-empty": [
        [vpc],
        [vpc, related(DEFAULT_GROUP, vpc, "vpcId", {"ingress": [{"self": True}]})],
    ],
    "vpc-flow-log": [[vpc]],
    "load-balancer-internal": [
        [resource(BALANCER, "b")],
        [resource(BALANCER, "b", {"internal": False})],
    ],
    "iam-no-wildcard-action": [
        [resource(ROLE_POLICY, "p", {"policy": allow("*", "arn")})],
        [resource(ROLE_POLICY, "p", {"policy": allow(["s3:GetObject", "s3:*"], "arn")})],
        [resource(ROLE_POLICY, "p", {"policy": policy({"Effect": "Allow", "NotAction": "iam:*"})})],
    ],
    "iam-no-wildcard-resource": [
        [
            resource(
                ROLE_POLICY, "p", {"policy": allow(["ec2:DescribeTags", "s3:GetObject"], ["*"])}
            )
        ],
        [
            resource(
                ROLE_POLICY,
                "p",
                {
                    "policy": policy(
                        {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn"}
                    )
                },
            )
        ],
    ],
    "iam-no-admin-policy": [
        [resource(ATTACHMENT, "a", {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"})]
    ],
    "iam-named-principals": [
        [resource(ROLE, "r", {"assumeRolePolicy": policy({"Effect": "Allow", "Principal": "*"})})],
        [
            resource(
                ROLE,
                "r",
                {"assumeRolePolicy": policy({"Effect": "Allow", "Principal": {"AWS": ["*"]}})},
            )
        ],
    ],
    "iam-no-users": [[resource(USER, "u")], [resource(ACCESS_KEY, "u")]],
    "eks-secrets-encrypted": [
        [resource(CLUSTER, "c", {**valid_cluster, "encryptionConfig": None})]
    ],
    "eks-logs": [[resource(CLUSTER, "c", {**valid_cluster, "enabledClusterLogTypes": ["api"]})]],
    "eks-endpoint-restricted": [
        [resource(CLUSTER, "c", {**valid_cluster, "vpcConfig": {}})],
        [
            resource(
                CLUSTER, "c", {**valid_cluster, "vpcConfig": {"publicAccessCidrs": ["0.0.0.0/0"]}}
            )
        ],
    ],
    "eks-access-entries": [[resource(CLUSTER, "c", {**valid_cluster, "accessConfig": None})]],
    "imds-v2": [
        [resource(TEMPLATE, "t", {"blockDeviceMappings": []})],
        [
            resource(
                TEMPLATE,
                "t",
                {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2}},
            )
        ],
    ],
    "disks-encrypted": [
        [resource(TEMPLATE, "t", {**valid_template, "blockDeviceMappings": [{"ebs": {}}]})]
    ],
    "nodes-no-ssh": [
        [resource(TEMPLATE, "t", {**valid_template, "keyName": "mine"})],
        [resource(NODES, "n", {"remoteAccess": {"ec2SshKey": "mine"}})],
    ],
    "api-key-required": [[openapi({})]],
    "api-logged": [[resource(STAGE, "api", {"restApi": "a"})]],
    "api-rate-limited": [
        [stage],
        [stage, resource(SETTINGS, "api", {"restApi": "a", "methodPath": "x/GET"})],
        [
            stage,
            resource(
                SETTINGS,
                "api",
                {"restApi": "a", "methodPath": "*/*", "settings": {"throttlingRateLimit": -1}},
            ),
        ],
    ],
    "api-firewall": [[stage]],
    "api-tls": [[resource(DOMAIN, "d", {"securityPolicy": "TLS_1_0"})]],
    "edge-https": [
        [
            resource(
                EDGE,
                "e",
                {
                    **valid_distribution,
                    "defaultCacheBehavior": {"viewerProtocolPolicy": "allow-all"},
                },
            )
        ]
    ],
    "edge-tls": [
        [
            resource(
                EDGE,
                "e",
                {
                    **valid_distribution,
                    "viewerCertificate": {"minimumProtocolVersion": "TLSv1.1_2016"},
                },
            )
        ]
    ],
    "edge-firewall": [[resource(EDGE, "e", {**valid_distribution, "webAclId": None})]],
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
    "pod-image-pinned": [[container(image="digits:latest")], [container(image="host:5000/digits")]],
    "pod-image-digest": [[container(image="traefik:v3.6.0")]],
    "pod-no-secret-in-environment": [
        [container(env=[{"name": "DB_PASSWORD", "value": "clear"}])],
        [container(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "clear"}])],
    ],
    "pod-no-host-access": [
        [deployment(lambda pod: pod.update(hostNetwork=True))],
        [deployment(lambda pod: pod["volumes"].append({"name": "h", "hostPath": {"path": "/"}}))],
    ],
    "pod-no-token": [
        [deployment(lambda pod: pod.pop("automountServiceAccountToken"))],
        [
            resource(
                CRON_JOB,
                "c",
                {
                    "spec": {
                        "jobTemplate": {
                            "spec": {
                                "template": {
                                    "spec": {**POD_SPEC, "automountServiceAccountToken": True}
                                }
                            }
                        }
                    }
                },
            )
        ],
    ],
    "namespace-restricted": [[resource(NAMESPACE, "n", {"metadata": {"name": "n"}})]],
    "namespace-default-deny": [
        [namespace],
        [
            namespace,
            resource(
                NETWORK_POLICY,
                "n",
                {
                    "metadata": {"namespace": "n"},
                    "spec": {"policyTypes": ["Ingress", "Egress"], "egress": [{}]},
                },
            ),
        ],
    ],
}
