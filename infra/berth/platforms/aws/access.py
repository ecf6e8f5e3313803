"""Access to a stack's AWS account without its Pulumi program: credentials, EKS cluster, bucket."""

from collections.abc import Mapping
from typing import Any

from berth.errors import OperationError
from berth.platforms.aws.errors import explain_aws_errors
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.spec import HostingSpec, SpecError
from pulumi_berth.aws.bucket_plan import data_bucket_name
from pulumi_berth.datasets.bucket_dataset import BucketDataset, BucketError, require_own_bucket

_TIMEOUT_SECONDS = 5


class MissingClusterError(SpecError):
    """The stack's EKS cluster does not exist."""


def stack_prefix(stack: str) -> str:
    """Return the prefix of the stack's physical names, such as `berth-dev`.

    It is also the full name of the EKS cluster.
    """
    return f"berth-{stack}"


def require_credentials(settings: Mapping[str, Any]) -> None:
    """Check that AWS accepts the current credentials.

    Args:
        settings: Settings of the AWS provider. With `skipCredentialsValidation`, as for emulated
            AWS, no request is sent.

    Raises:
        SpecError: If there are no credentials, or AWS rejects them.
    """
    if str(settings.get("skipCredentialsValidation", "")).lower() == "true":
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(
        connect_timeout=_TIMEOUT_SECONDS,
        read_timeout=_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 1},
    )
    region = str(settings["region"])
    try:
        session = boto3.Session(profile_name=settings.get("profile"), region_name=region)
        session.client("sts", config=limits).get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise SpecError.of(
            f"aws: AWS accepted no credentials in {region}: {' '.join(str(error).split())}. "
            "Nothing was changed. Run `aws sso login` or `aws configure`, or select a profile with "
            "AWS_PROFILE or aws:profile. To check, run `aws sts get-caller-identity`."
        ) from error


def build_kubeconfig(*, name: str, region: str, endpoint: str, authority: str) -> dict[str, Any]:
    """Return a kubeconfig without credentials: the AWS CLI fetches a token for each use.

    https://docs.aws.amazon.com/eks/latest/userguide/create-kubeconfig.html

    Args:
        endpoint: URL of the cluster's API.
        authority: Base64-encoded certificate of the cluster's API.
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
    """Return access to the cluster of a deployed stack.

    Args:
        settings: Settings of the AWS provider: `region` and optionally `profile`.

    Raises:
        MissingClusterError: If the cluster does not exist.
        SpecError: If AWS does not respond, or rejects the request.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(connect_timeout=_TIMEOUT_SECONDS, read_timeout=_TIMEOUT_SECONDS)
    region, name = str(settings["region"]), stack_prefix(stack)
    try:
        session = boto3.Session(profile_name=settings.get("profile"), region_name=region)
        cluster = session.client("eks", config=limits).describe_cluster(name=name)["cluster"]
    except (BotoCoreError, ClientError) as error:
        is_missing = "ResourceNotFoundException" in str(error)
        raise (MissingClusterError if is_missing else SpecError).of(
            f"aws: could not find the EKS cluster {name} in {region}: {error}. Check that the "
            f"stack is deployed (`berth status -s {stack}`) and that the credentials belong to its "
            "account (`aws sts get-caller-identity`)."
        ) from error
    content = build_kubeconfig(
        name=name,
        region=region,
        endpoint=cluster["endpoint"],
        authority=cluster["certificateAuthority"]["data"],
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
    import boto3

    with explain_aws_errors("docs/how-to/use-reference-data.md"):
        session = boto3.Session(
            profile_name=spec.aws.get("profile"), region_name=str(spec.aws["region"])
        )
        account = session.client("sts").get_caller_identity()["Account"]
        region = session.region_name
    try:
        bucket = own_bucket(stack, account, region)
    except BucketError as error:
        raise OperationError(
            f"{error}. It is the bucket of stack '{stack}': deploy that stack, and sign in to its "
            "AWS account."
        ) from error
    return BucketDataset.parse(f"{bucket}/{path}")
