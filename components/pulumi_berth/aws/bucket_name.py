"""Names of buckets, known before the buckets are."""


def data_bucket(prefix: str, account: str, region: str, part: str = "") -> str:
    """Of a `DataLayer`: a name of the account's own, since names of buckets are the whole world's.

    Args:
        prefix: of the layer. With what follows it has at most 35 characters, since S3 takes 63, an
            account's number has 12 and the longest region 14.
        part: `-log` or `-replica`; the bucket of the data itself has none.
    """
    return f"{prefix}-data{part}-{account}-{region}"
