"""IAM trust and permission policies, as plain data."""

import json
from collections.abc import Mapping
from typing import Any


def service_trust_policy(service: str, condition: Mapping[str, Any] | None = None) -> str:
    """Return the trust policy of a role that an AWS service can assume.

    Args:
        service: Principal of the service, such as `ec2.amazonaws.com`.
        condition: IAM condition that restricts on whose behalf the service acts.
    """
    return _trust_policy(service, ["sts:AssumeRole"], condition)


def pod_trust_policy(account: str, cluster_arn: str) -> str:
    """Return the trust policy of a role that Pods of one EKS cluster assume through Pod Identity.

    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    condition = {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnEquals": {"aws:SourceArn": cluster_arn},
    }
    return _trust_policy("pods.eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"], condition)


def _trust_policy(service: str, actions: list[str], condition: Mapping[str, Any] | None) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": actions,
        **({"Condition": dict(condition)} if condition else {}),
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def autoscaler_permissions(*, region: str, account: str, cluster_name: str) -> str:
    """Return the IAM policy of the cluster autoscaler.

    It reads all Auto Scaling groups and resizes only the groups of this cluster. EKS tags the
    groups of its managed node groups:
    https://docs.aws.amazon.com/eks/latest/best-practices/cas.html
    """
    # These actions do not support resource-level permissions:
    # https://docs.aws.amazon.com/service-authorization/latest/reference/
    read_actions = [
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLaunchConfigurations",
        "autoscaling:DescribeScalingActivities",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:GetInstanceTypesFromInstanceRequirements",
    ]
    statements = [
        {"Effect": "Allow", "Action": read_actions, "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "eks:DescribeNodegroup",
            "Resource": f"arn:aws:eks:{region}:{account}:nodegroup/{cluster_name}/*",
        },
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:SetDesiredCapacity",
                "autoscaling:TerminateInstanceInAutoScalingGroup",
            ],
            "Resource": f"arn:aws:autoscaling:{region}:{account}:autoScalingGroup:*",
            "Condition": {
                "StringEquals": {
                    f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster_name}": "owned"
                }
            },
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
