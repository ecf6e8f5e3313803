"""Names of buckets, known before the buckets are."""


def bucket_name(prefix: str, account: str, region: str) -> str:
    """A name of the account's own: names of buckets are the whole world's.

    Args:
        prefix: at most 35 characters, since S3 takes 63, an account's number has 12 and the
            longest region 14.
    """
    return f"{prefix}-{account}-{region}"


def data_bucket(stack_prefix: str, account: str, region: str) -> str:
    """Of a `DataLayer` with that prefix."""
    return bucket_name(f"{stack_prefix}-data", account, region)
