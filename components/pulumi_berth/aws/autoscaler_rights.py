"""What the cluster autoscaler may do in AWS."""

import json


def autoscaler_policy(*, region: str, account: str, cluster_name: str) -> str:
    """An IAM policy: look at groups of instances, and change the size of this cluster's.

    EKS marks the groups behind its managed node groups by itself:
    https://docs.aws.amazon.com/eks/latest/best-practices/cas.html
    """
    # These take no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/
    look = [
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
        {"Effect": "Allow", "Action": look, "Resource": "*"},
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
