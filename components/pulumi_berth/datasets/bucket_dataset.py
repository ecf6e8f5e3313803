"""Datasets in an S3 bucket: one object per file and a manifest.

The client reads credentials, Region and endpoint from the environment, as AWS's own tools do. The
endpoint can belong to another service with the S3 API.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_data.manifest import (
    MANIFEST_NAME,
    build_manifest,
    check_file,
    manifest_digest,
    parse_manifest,
)
from pulumi_berth.datasets import DATA
from pulumi_berth.datasets.bucket_upload import FileParts, Upload
from pulumi_berth.files import cache_directory, open_replacement
from pulumi_berth.oci.tree import PLAIN, Entry, Tree

_PARALLEL_TRANSFERS = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")

Log = Callable[[str], None]
"""Receives one line for each step of a transfer."""


class BucketError(RuntimeError):
    """A bucket cannot be reached, rejected a request, or lacks an object."""


def require_own_bucket(bucket: str, account: str) -> None:
    """Check that the bucket exists and belongs to `account`.

    Bucket names are global, so another account can own the name.

    Raises:
        BucketError: If the bucket does not exist or belongs to another account.
    """
    from botocore.exceptions import ClientError

    with _translate_errors(bucket):
        try:
            _client(bucket).head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            raise BucketError(f"s3://{bucket}: The bucket does not exist") from error


@dataclass(frozen=True, kw_only=True)
class BucketDataset:
    """A version of a dataset: the objects below `prefix`, which includes the version."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, name: str) -> "BucketDataset":
        """Parse `bucket/prefix/version`."""
        bucket, _, prefix = name.partition("/")
        return cls(bucket=bucket, prefix=prefix)

    @property
    def name(self) -> str:
        """The location, `bucket/prefix/version`."""
        return f"{self.bucket}/{self.prefix}"

    def digest(self) -> str | None:
        """Return the digest of the manifest, or None if the version does not exist.

        Raises:
            BucketError: If the bucket cannot be read.
        """
        data = self._read_manifest()
        return None if data is None else manifest_digest(data)

    def push(self, directory: Path, log: Log) -> str:
        """Upload the files in `directory` that the bucket lacks, and return the digest.

        The manifest is uploaded last. Without it, the version does not exist.

        Raises:
            BucketError: If the version exists with other data, which never changes, or S3 fails.
            DatasetError: If the directory has no files.
        """
        manifest = build_manifest(directory)
        digest = manifest_digest(manifest)
        if self._exists(digest):
            return digest
        names = sorted(parse_manifest(manifest, str(directory), None))
        client = _client(self.name)

        def upload(name: str) -> str:
            Upload(
                s3=client,
                bucket=self.bucket,
                key=self._key(name),
                parts=FileParts.split(directory / name),
                log=log,
            ).run()
            return name

        self._transfer(names, upload, log)
        self._publish(client, manifest, digest)
        return digest

    def copy_from(self, source: "BucketDataset", log: Log) -> str:
        """Copy `source` to this location within S3, and return the digest.

        Raises:
            BucketError: If the source does not exist, if this version exists with other data, or
                if S3 fails.
            DatasetError: If the source has no valid manifest.
        """
        manifest = source._require_manifest()
        digest = manifest_digest(manifest)
        if self._exists(digest):
            return digest
        names = sorted(parse_manifest(manifest, f"s3://{source.name}/{MANIFEST_NAME}", None))
        client = _client(self.name)

        def copy(name: str) -> str:
            client.copy(
                {"Bucket": source.bucket, "Key": source._key(name)},
                self.bucket,
                self._key(name),
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
            )
            return name

        self._transfer(names, copy, log)
        self._publish(client, manifest, digest)
        return digest

    def tree(self, digest: str) -> Tree:
        """Return the files and their manifest as files of an image.

        Raises:
            BucketError: If the version or a file is missing.
            DatasetError: If the manifest has another digest, or a file another checksum.
        """
        data = self._require_manifest()
        files = parse_manifest(data, f"s3://{self.name}/{MANIFEST_NAME}", digest)
        client = _client(self.name)
        tree: Tree = {f"{DATA}/{MANIFEST_NAME}": Entry(mode=PLAIN, read=lambda: data)}
        for name, sha256 in files.items():
            path = self._download(client, name, sha256)
            tree[f"{DATA}/{name}"] = Entry(mode=PLAIN, path=path)
        return tree

    def _transfer(self, names: list[str], transfer: Callable[[str], str], log: Log) -> None:
        with _translate_errors(self.name), ThreadPoolExecutor(_PARALLEL_TRANSFERS) as pool:
            for number, name in enumerate(pool.map(transfer, names), 1):
                log(f"{number} of {len(names)}: {name}")

    def _require_manifest(self) -> bytes:
        data = self._read_manifest()
        if data is None:
            raise BucketError(
                f"s3://{self.name}: The dataset does not exist. Push it with `berth data push`."
            )
        return data

    def _exists(self, digest: str) -> bool:
        """Check whether the version exists with this digest."""
        existing = self.digest()
        if existing not in (None, digest):
            raise BucketError(
                f"s3://{self.name} exists with different content ({existing}). Use a new version."
            )
        return existing is not None

    def _publish(self, client: Any, manifest: bytes, digest: str) -> None:
        from botocore.exceptions import ClientError

        with _translate_errors(self.name):
            try:
                # If two clients push at once, only the first can create the version.
                client.put_object(
                    Bucket=self.bucket,
                    Key=self._key(MANIFEST_NAME),
                    Body=manifest,
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "412"):
                    raise
                self._exists(digest)

    def _read_manifest(self) -> bytes | None:
        from botocore.exceptions import ClientError

        key = self._key(MANIFEST_NAME)
        with _translate_errors(self.name):
            try:
                response = _client(self.name).get_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
            return bytes(response["Body"].read())

    def _download(self, client: Any, name: str, sha256: str) -> Path:
        """Return a file of the dataset as a file in the cache, which is keyed by checksum."""
        if not _SHA256.fullmatch(sha256):
            raise BucketError(
                f"s3://{self.name}/{MANIFEST_NAME}: {sha256!r} of {name} is not a SHA-256"
            )
        path = cache_directory("images", "blobs") / f"sha256-{sha256}"
        if not path.exists():
            with open_replacement(path) as temporary, _translate_errors(self.name):
                client.download_file(self.bucket, self._key(name), str(temporary))
                check_file(temporary, name, sha256)
        return path

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"


def _client(location: str) -> Any:
    from pulumi_berth.aws_identity import get_identity

    with _translate_errors(location):
        return get_identity().create_client("s3")


@contextlib.contextmanager
def _translate_errors(location: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise BucketError(f"s3://{location}: {error}") from error
