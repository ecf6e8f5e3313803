"""Actions that `berth up` needs on AWS, and whether the caller may perform them."""

from collections.abc import Iterable, Sequence
from typing import Any

# One action for each kind of resource that a stack creates, and those whose lack is found late in
# an update. Names: https://docs.aws.amazon.com/service-authorization/latest/reference/.
ACTIONS: tuple[str, ...] = (
    "acm:RequestCertificate",
    "apigateway:POST",
    "autoscaling:AttachLoadBalancerTargetGroups",
    "autoscaling:DescribeAutoScalingGroups",
    "budgets:ModifyBudget",
    "cloudfront:CreateDistribution",
    "cloudfront:CreateResponseHeadersPolicy",
    "cloudwatch:PutDashboard",
    "cloudwatch:PutMetricAlarm",
    "ec2:AllocateAddress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateFlowLogs",
    "ec2:CreateInternetGateway",
    "ec2:CreateLaunchTemplate",
    "ec2:CreateNatGateway",
    "ec2:CreateRouteTable",
    "ec2:CreateSecurityGroup",
    "ec2:CreateSubnet",
    "ec2:CreateTags",
    "ec2:CreateVpc",
    "ec2:CreateVpcEndpoint",
    "ec2:CreateVpcEndpointServiceConfiguration",
    "ec2:RunInstances",
    "ecr:CreateRepository",
    "ecr:GetAuthorizationToken",
    "ecr:PutImage",
    "ecr:PutLifecyclePolicy",
    "ecr:SetRepositoryPolicy",
    "eks:CreateAccessEntry",
    "eks:CreateAddon",
    "eks:CreateCluster",
    "eks:CreateNodegroup",
    "eks:CreatePodIdentityAssociation",
    "elasticloadbalancing:CreateListener",
    "elasticloadbalancing:CreateLoadBalancer",
    "elasticloadbalancing:CreateTargetGroup",
    "iam:AttachRolePolicy",
    "iam:CreateRole",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "kms:CreateAlias",
    "kms:CreateKey",
    "kms:EnableKeyRotation",
    "logs:CreateLogGroup",
    "logs:PutMetricFilter",
    "logs:PutRetentionPolicy",
    "route53:ChangeResourceRecordSets",
    "route53:ListHostedZones",
    "s3:CreateBucket",
    "s3:PutBucketPolicy",
    "s3:PutEncryptionConfiguration",
    "sns:CreateTopic",
    "sns:Subscribe",
    "wafv2:AssociateWebACL",
    "wafv2:CreateWebACL",
    "wafv2:PutLoggingConfiguration",
)


def find_principal(caller_arn: str, iam: Any) -> str | None:
    """Return the ARN of the user or role that policies apply to, or None if IAM has none.

    sts:GetCallerIdentity returns the session of a role, without the role's path, so the role must
    be read. The root user and federated users have no policies to simulate.
    """
    resource = caller_arn.partition("::")[2] or caller_arn
    kind = resource.partition(":")[2].partition("/")[0]
    if kind == "assumed-role":
        name = resource.split("/")[1]
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    return caller_arn if kind == "user" else None


def find_denied(principal: str, iam: Any, actions: Sequence[str] = ACTIONS) -> list[str]:
    """Return the actions that the principal's policies do not allow, on all resources."""
    denied: list[str] = []
    marker: dict[str, str] = {}
    while True:
        response = iam.simulate_principal_policy(
            PolicySourceArn=principal, ActionNames=list(actions), **marker
        )
        denied += _select_denied(response["EvaluationResults"])
        if not response.get("IsTruncated"):
            return sorted(denied)
        marker = {"Marker": response["Marker"]}


def _select_denied(results: Iterable[dict[str, Any]]) -> list[str]:
    return [one["EvalActionName"] for one in results if one["EvalDecision"] != "allowed"]
