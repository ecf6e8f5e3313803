"""Who may take on an IAM role."""

import json
from collections.abc import Mapping
from typing import Any


def assumed_by(service: str, condition: Mapping[str, Any] | None = None) -> str:
    """The trust policy of a role that the AWS service `service` takes on.

    Args:
        service: its principal, such as `ec2.amazonaws.com`.
        condition: of an IAM policy; on whose behalf it may.
    """
    return _document(service, ["sts:AssumeRole"], condition)


def assumed_by_pods(account: str, cluster_arn: str) -> str:
    """The trust policy of a role that pods of one EKS cluster take on through Pod Identity.

    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    ours = {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnEquals": {"aws:SourceArn": cluster_arn},
    }
    return _document("pods.eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"], ours)


def _document(service: str, actions: list[str], condition: Mapping[str, Any] | None) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": actions,
        **({"Condition": dict(condition)} if condition else {}),
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
