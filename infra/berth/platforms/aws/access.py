"""Access to a stack's AWS account without its Pulumi program: credentials, EKS cluster, bucket."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from berth.errors import OperationError
from berth.platforms.aws.errors import MISSING_CLUSTER, explain_aws_errors, get_code
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.spec import HostingSpec, SpecError
from pulumi_berth.aws.bucket_plan import data_bucket_name
from pulumi_berth.aws_identity import AwsIdentity, get_identity, read_identity, use_identity
from pulumi_berth.datasets.bucket_dataset import BucketDataset, BucketError, require_own_bucket

_TIMEOUT_SECONDS = 5
_COMMAND = ("berth",)


class MissingClusterError(SpecError):
    """The stack's EKS cluster does not exist."""


def stack_prefix(stack: str) -> str:
    """Return the prefix of the stack's physical names, such as `berth-dev`.

    It is also the full name of the EKS cluster.
    """
    return f"berth-{stack}"


def require_credentials(settings: Mapping[str, Any]) -> dict[str, str] | None:
    """Check that AWS accepts the current credentials.

    Returns:
        Whose they are: `Arn` and `Account`. None if no request is sent.

    Args:
        settings: Settings of the AWS provider. With `skipCredentialsValidation`, as for emulated
            AWS, no request is sent.

    Raises:
        SpecError: If there are no credentials, or AWS rejects them.
    """
    if str(settings.get("skipCredentialsValidation", "")).lower() == "true":
        return None
    use_identity(settings)
    from botocore.exceptions import BotoCoreError, ClientError

    region = str(settings["region"])
    try:
        client = get_identity().create_client("sts", region=region, config=limit_requests())
        caller: dict[str, str] = client.get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise SpecError.of(
            f"aws: AWS accepted no credentials in {region}: {' '.join(str(error).split())}. "
            "Nothing was changed. Run `aws sso login`, set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or select a profile with AWS_PROFILE or aws:profile."
        ) from error
    return caller


def limit_requests() -> Any:
    """Return botocore's configuration for requests that must end within seconds."""
    from botocore.config import Config

    return Config(
        connect_timeout=_TIMEOUT_SECONDS,
        read_timeout=_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 1},
    )


def build_kubeconfig(
    *,
    name: str,
    region: str,
    endpoint: str,
    authority: str,
    identity: AwsIdentity,
    command: Sequence[str] = _COMMAND,
) -> dict[str, Any]:
    """Return a kubeconfig without credentials: a command creates a token for each use.

    A token is valid for 15 minutes, and an update may take an hour, so the client must be able to
    create the next one. A token in the kubeconfig would also be in the stack's state.

    Args:
        endpoint: URL of the cluster's API.
        authority: Base64-encoded certificate of the cluster's API.
        identity: The identity of the stack, which the cluster admits.
        command: Berth's command. Defaults to `berth` on the PATH, the same on every machine that
            works with the stack's state.
    """
    described = identity.describe()
    options = ["--identity", json.dumps(described, sort_keys=True)] if described else []
    program, *arguments = command
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": program,
        "args": [*arguments, "cluster-token", name, "--region", region, *options],
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
    """Return access to the cluster of a deployed stack.

    Args:
        settings: Settings of the AWS provider, such as `region` and `profile`.

    Raises:
        MissingClusterError: If the cluster does not exist.
        SpecError: If AWS does not respond, or rejects the request.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    region, name = str(settings["region"]), stack_prefix(stack)
    identity = read_identity(settings)
    try:
        client = identity.create_client("eks", region=region, config=limit_requests())
        cluster = client.describe_cluster(name=name)["cluster"]
    except (BotoCoreError, ClientError) as error:
        is_missing = get_code(error) == MISSING_CLUSTER
        raise (MissingClusterError if is_missing else SpecError).of(
            f"aws: could not find the EKS cluster {name} in {region}: {error}. Check that the "
            f"stack is deployed (`berth status -s {stack}`) and that the credentials belong to its "
            f"account (`berth preflight -s {stack}`)."
        ) from error
    content = build_kubeconfig(
        name=name,
        region=region,
        endpoint=cluster["endpoint"],
        authority=cluster["certificateAuthority"]["data"],
        identity=identity,
        # This process may have been started without its environment's programs on the PATH.
        command=(sys.executable, "-m", "berth"),
    )
    return ClusterAccess(kubeconfig=None, context=None, content=content)


def own_bucket(stack: str, account: str, region: str) -> str:
    """Return the name of the stack's data bucket.

    Raises:
        BucketError: If the bucket does not exist, or belongs to another account.
    """
    bucket = data_bucket_name(stack_prefix(stack), account, region)
    require_own_bucket(bucket, account)
    return bucket


def dataset_bucket(spec: HostingSpec, stack: str, account: str, region: str) -> str | None:
    """Return the bucket of datasets without a source, or None if every dataset names a source.

    A dataset's digest is part of what a stack declares, so the program reads the bucket before it
    declares anything.

    Raises:
        SpecError: If the bucket does not exist yet, or belongs to another account.
    """
    without = [name for name, entry in spec.data.datasets.items() if entry.source is None]
    if not without:
        return None
    try:
        return own_bucket(stack, account, region)
    except BucketError as error:
        raise SpecError.of(
            f"berth:data.datasets.{without[0]}: {error}. The first `berth up` creates this bucket "
            "of the stack: run it without this dataset, upload the dataset with `berth data push`, "
            "then add the dataset again."
        ) from error


def open_own_dataset(spec: HostingSpec, stack: str, path: str) -> BucketDataset:
    """Open the dataset at `path` in the bucket of a deployed stack.

    Raises:
        OperationError: If the bucket does not exist or AWS rejects the request.
    """
    use_identity(spec.aws)
    region = str(spec.aws["region"])
    with explain_aws_errors("docs/how-to/use-reference-data.md"):
        client = get_identity().create_client("sts", region=region)
        account = client.get_caller_identity()["Account"]
    try:
        bucket = own_bucket(stack, account, region)
    except BucketError as error:
        raise OperationError(
            f"{error}. It is the bucket of stack '{stack}': deploy that stack, and sign in to its "
            "AWS account."
        ) from error
    return BucketDataset.parse(f"{bucket}/{path}")
