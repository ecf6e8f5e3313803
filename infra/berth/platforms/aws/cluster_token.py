"""Tokens for the API of an EKS cluster.

A token is a signed request to STS that the cluster sends to find out who calls it. Creating one
needs no request: https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
"""

import base64
import datetime
from typing import Any

from pulumi_berth.aws_identity import AwsIdentity

# As in awscli/customizations/eks/get_token.py of https://github.com/aws/aws-cli, read 2026-11-26:
# a cluster accepts a token for 15 minutes, and clients create the next one a minute earlier.
_SIGNATURE_SECONDS = 60
_VALID_MINUTES = 14
_CLUSTER_HEADER = "x-k8s-aws-id"


def create_token(cluster: str, region: str, identity: AwsIdentity) -> str:
    """Return a token for the cluster.

    Raises:
        BotoCoreError: If there are no credentials.
    """
    client = identity.create_client("sts", region=region)

    def take_name(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["cluster"] = params.pop("Cluster", None)

    def add_header(request: Any, **_: Any) -> None:
        request.headers[_CLUSTER_HEADER] = request.context["cluster"]

    events = client.meta.events
    events.register("provide-client-params.sts.GetCallerIdentity", take_name)
    events.register("before-sign.sts.GetCallerIdentity", add_header)
    url = client.generate_presigned_url(
        "get_caller_identity",
        Params={"Cluster": cluster},
        ExpiresIn=_SIGNATURE_SECONDS,
        HttpMethod="GET",
    )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def build_credential(token: str, now: datetime.datetime) -> dict[str, Any]:
    """Return the document that kubectl and other clients expect of a credential command.

    https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
    """
    expires = now + datetime.timedelta(minutes=_VALID_MINUTES)
    return {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {},
        "status": {
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": token,
        },
    }
