"""Access to an EKS cluster with the credentials at hand."""

from collections.abc import Mapping
from typing import Any

from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.spec import SpecError


def cluster_name(stack: str) -> str:
    """EKS's name of the stack's cluster."""
    return f"berth-{stack}"


def kubeconfig(*, name: str, region: str, endpoint: str, authority: str) -> dict[str, Any]:
    """A kubeconfig without a credential: a token is asked for, each time, by the AWS CLI.

    https://docs.aws.amazon.com/eks/latest/userguide/create-kubeconfig.html

    Args:
        endpoint: URL of the cluster's API.
        authority: base64 of the certificate that it is recognised by.
    """
    token = ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"]
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "aws",
        "args": token,
        "interactiveMode": "Never",
    }
    cluster = {"server": endpoint, "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": {"exec": exec_}}],
    }


def eks_access(stack: str, settings: Mapping[str, Any]) -> ClusterAccess:
    """Access to the cluster of a stack that is up.

    Args:
        settings: of the AWS provider, `region` and perhaps `profile`.

    Raises:
        SpecError: there is no such cluster, or AWS does not answer.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    region, name = str(settings["region"]), cluster_name(stack)
    try:
        session = boto3.Session(profile_name=settings.get("profile"), region_name=region)
        found = session.client("eks").describe_cluster(name=name)["cluster"]
    except (BotoCoreError, ClientError) as error:
        raise SpecError.of(
            f"aws: the cluster {name} in {region} cannot be found: {error}; is the stack up, and "
            "are these the account's credentials? (aws sts get-caller-identity)"
        ) from error
    content = kubeconfig(
        name=name,
        region=region,
        endpoint=found["endpoint"],
        authority=found["certificateAuthority"]["data"],
    )
    return ClusterAccess(kubeconfig=None, context=None, content=content)
