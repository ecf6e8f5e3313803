"""The controls of public standards that the rules correspond to, by number.

Sources: CIS Amazon EKS Benchmark 1.8.0 (as in kube-bench, cfg/eks-1.8.0), AWS Foundational
Security Best Practices
(https://docs.aws.amazon.com/securityhub/latest/userguide/fsbp-standard.html), and the Pod Security
Standards of Kubernetes 1.35, whose controls have names instead of numbers
(https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Controls that a rule covers, in part or in full.

    Attributes:
        cis_eks: Numbers in the CIS Amazon EKS Benchmark.
        aws: Numbers in AWS Foundational Security Best Practices.
        pod_security: Controls of the Pod Security Standards.
    """

    cis_eks: tuple[str, ...] = ()
    aws: tuple[str, ...] = ()
    pod_security: tuple[str, ...] = ()


_NONE = Controls()

CONTROLS: dict[str, Controls] = {
    "api-firewall": Controls(aws=("APIGateway.4",)),
    "api-key-required": Controls(aws=("APIGateway.8",)),
    "api-logged": Controls(aws=("APIGateway.1", "APIGateway.9")),
    "api-rate-limited": _NONE,
    "api-tls": _NONE,
    "aws-no-secret-in-environment": Controls(aws=("ECS.8", "CodeBuild.2")),
    "config-map-no-secret": Controls(cis_eks=("4.4.1",)),
    "default-security-group-empty": Controls(aws=("EC2.2",)),
    "deletion-protection": Controls(aws=("KMS.3",)),
    "disks-encrypted": Controls(aws=("EC2.3", "EC2.7")),
    "docker-image-digest": _NONE,
    "docker-limits": _NONE,
    "docker-no-escalation": _NONE,
    "docker-no-host-access": _NONE,
    "docker-no-privileges": _NONE,
    "docker-no-secret-in-environment": _NONE,
    "docker-not-root": _NONE,
    "docker-read-only-root": _NONE,
    "ecr-encrypted": _NONE,
    "ecr-immutable": Controls(aws=("ECR.2",)),
    "ecr-scanned": Controls(cis_eks=("5.1.1",), aws=("ECR.1",)),
    "ecs-no-host-access": Controls(aws=("ECS.1", "ECS.3", "ECS.4")),
    "edge-firewall": Controls(aws=("CloudFront.6",)),
    "edge-https": Controls(aws=("CloudFront.3",)),
    "edge-tls": Controls(aws=("CloudFront.7",)),
    "eks-access-entries": Controls(cis_eks=("4.1.7", "5.5.1")),
    "eks-endpoint-restricted": Controls(cis_eks=("5.4.1", "5.4.2"), aws=("EKS.1",)),
    "eks-logs": Controls(cis_eks=("2.1.1",), aws=("EKS.8",)),
    "eks-secrets-encrypted": Controls(cis_eks=("5.3.1",), aws=("EKS.3",)),
    "function-named-callers": Controls(aws=("Lambda.1",)),
    "function-url-authorized": Controls(aws=("Lambda.1",)),
    "gateway-tls": Controls(cis_eks=("5.4.5",)),
    "iam-named-principals": _NONE,
    "iam-no-admin-policy": Controls(aws=("IAM.1",)),
    "iam-no-users": Controls(aws=("IAM.2", "IAM.3", "IAM.8")),
    "iam-no-wildcard-action": Controls(aws=("IAM.1", "IAM.21")),
    "iam-no-wildcard-resource": Controls(aws=("IAM.1", "KMS.1", "KMS.2")),
    "iam-pass-role": _NONE,
    "imds-v2": Controls(aws=("EC2.8", "AutoScaling.3", "AutoScaling.4")),
    "ingress-tls": Controls(cis_eks=("5.4.5",)),
    "kms-rotates": Controls(aws=("KMS.4",)),
    "load-balancer-internal": _NONE,
    "load-balancer-tls": Controls(cis_eks=("5.4.5",), aws=("ELB.1",)),
    "logs-encrypted": _NONE,
    "logs-retention": _NONE,
    "namespace-default-deny": Controls(cis_eks=("4.3.2", "5.4.4")),
    "namespace-restricted": Controls(cis_eks=("4.2.1", "4.2.2", "4.2.3", "4.2.4", "4.2.5")),
    "no-hidden-resources": _NONE,
    "no-open-ingress": Controls(aws=("EC2.13", "EC2.14", "EC2.18", "EC2.19")),
    "no-open-ingress-together": Controls(aws=("EC2.18", "EC2.19")),
    "no-token-secret": Controls(cis_eks=("4.1.6",)),
    "nodes-no-ssh": Controls(aws=("EC2.13",)),
    "pod-annotations-confined": Controls(pod_security=("AppArmor", "Seccomp")),
    "pod-image-digest": _NONE,
    "pod-image-pinned": _NONE,
    "pod-limits": _NONE,
    "pod-no-capabilities": Controls(pod_security=("Capabilities",)),
    "pod-no-escalation": Controls(
        cis_eks=("4.2.1", "4.2.5"), pod_security=("Privileged Containers", "Privilege Escalation")
    ),
    "pod-no-host-access": Controls(
        cis_eks=("4.2.2", "4.2.3", "4.2.4"),
        pod_security=("Host Namespaces", "HostPath Volumes", "Host Ports"),
    ),
    "pod-no-host-process": Controls(cis_eks=("4.2.1",), pod_security=("HostProcess",)),
    "pod-no-secret-in-environment": Controls(cis_eks=("4.4.1",)),
    "pod-no-token": Controls(cis_eks=("4.1.5", "4.1.6")),
    "pod-not-root": Controls(pod_security=("Running as Non-root", "Running as Non-root user")),
    "pod-probes-local": Controls(pod_security=("Host Probes / Lifecycle Hooks",)),
    "pod-proc-mount": Controls(pod_security=("/proc Mount Type",)),
    "pod-profiles-confined": Controls(pod_security=("AppArmor", "Seccomp")),
    "pod-read-only-root": _NONE,
    "pod-safe-sysctls": Controls(pod_security=("Sysctls",)),
    "pod-seccomp": Controls(pod_security=("Seccomp",)),
    "pod-selinux": Controls(pod_security=("SELinux",)),
    "pod-volume-types": Controls(pod_security=("Volume Types",)),
    "rbac-no-admin": Controls(cis_eks=("4.1.1",)),
    "rbac-no-aggregation": Controls(cis_eks=("4.1.3",)),
    "rbac-no-anonymous": Controls(cis_eks=("4.1.1",)),
    "rbac-no-escalation": Controls(
        cis_eks=("4.1.2", "4.1.4", "4.1.8", "4.1.9", "4.1.10", "4.1.11", "4.1.12")
    ),
    "rbac-no-wildcard": Controls(cis_eks=("4.1.3",)),
    "resource-policy-named-principals": Controls(aws=("KMS.5", "S3.2", "S3.3", "S3.6", "SNS.4")),
    "s3-encrypted": Controls(aws=("S3.17",)),
    "s3-no-public-access": Controls(aws=("S3.2", "S3.3", "S3.8")),
    "s3-tls-only": Controls(aws=("S3.5",)),
    "s3-versioned": Controls(aws=("S3.14",)),
    "service-not-public": Controls(cis_eks=("5.4.5",)),
    "sns-encrypted": Controls(aws=("SNS.1",)),
    "volume-no-host-path": Controls(cis_eks=("4.1.9",)),
    "vpc-flow-log": Controls(aws=("EC2.6",)),
}
"""Rule ID -> controls. A rule of our own has none."""

# Every control of the Pod Security Standard `restricted`, which includes `baseline`.
POD_SECURITY_CONTROLS = (
    "HostProcess",
    "Host Namespaces",
    "Privileged Containers",
    "Capabilities",
    "HostPath Volumes",
    "Host Ports",
    "Host Probes / Lifecycle Hooks",
    "AppArmor",
    "SELinux",
    "/proc Mount Type",
    "Seccomp",
    "Sysctls",
    "Volume Types",
    "Privilege Escalation",
    "Running as Non-root",
    "Running as Non-root user",
)
