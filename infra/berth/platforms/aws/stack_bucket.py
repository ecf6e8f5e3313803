"""The bucket in which an aws stack keeps its own sets of data, as it is found without the stack.

A set's digest is part of what a stack declares, so the set is there before the program runs.
"""

from berth.errors import OperationError
from berth.platforms.aws.errors import explain_aws_errors
from berth.spec import HostingSpec, SpecError
from pulumi_berth.aws.bucket_name import data_bucket
from pulumi_berth.datasets.bucket_dataset import BucketError, BucketSet, require_own_bucket


def prefix_of(stack: str) -> str:
    """How the names of the stack's buckets begin."""
    return f"berth-{stack}"


def own_bucket(stack: str, account: str, region: str) -> str:
    """The name of the stack's bucket.

    Raises:
        BucketError: it is not there, or is not the account's.
    """
    bucket = data_bucket(prefix_of(stack), account, region)
    require_own_bucket(bucket, account)
    return bucket


def bucket_of_sets(spec: HostingSpec, stack: str, account: str, region: str) -> str | None:
    """The name of the bucket that sets without a source are in; None when each names one.

    Raises:
        SpecError: the bucket is not there yet, or is not the account's.
    """
    without = [name for name, entry in spec.data.datasets.items() if entry.source is None]
    if not without:
        return None
    try:
        return own_bucket(stack, account, region)
    except BucketError as error:
        raise SpecError.of(
            f"berth:data.datasets.{without[0]}: {error}; it is the stack's own bucket, which the "
            "first "
            "`berth up` makes: without this set, then `berth data push`, then with it"
        ) from error


def open_own_dataset(spec: HostingSpec, stack: str, path: str) -> BucketSet:
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
    return BucketSet.of(f"{bucket}/{path}")
