"""BucketSet: a version of a set of data in an S3 bucket, one object per file, and its manifest.

The bucket is reached as AWS's own tools reach it: credentials, region and endpoint (for what is no
AWS) come from the environment.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_data.manifest import NAME, check_file, digest_of, manifest_of, parse_manifest
from pulumi_berth.datasets.artifact import DATA
from pulumi_berth.datasets.bucket_upload import Parts, Upload
from pulumi_berth.oci.cache import cache_folder, written_whole
from pulumi_berth.oci.tree import PLAIN, Entry, Tree

_AT_ONCE = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BucketError(RuntimeError):
    """A bucket that cannot be reached, refuses, or lacks what is asked for."""


def require_own_bucket(bucket: str, account: str) -> None:
    """Hold that there is such a bucket, and that it is this account's: anybody may have taken a
    name that is not taken yet.

    Raises:
        BucketError: there is not, or it is another's.
    """
    from botocore.exceptions import ClientError

    with _errors(bucket):
        try:
            _client(bucket).head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            raise BucketError(f"s3://{bucket}: there is no such bucket") from error


@dataclass(frozen=True, kw_only=True)
class BucketSet:
    """Where a version lies: below `prefix` (the version included) of `bucket`."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, name: str) -> "BucketSet":
        """From `bucket/prefix/version`."""
        bucket, _, prefix = name.partition("/")
        return cls(bucket=bucket, prefix=prefix)

    @property
    def name(self) -> str:
        """`bucket/prefix/version`."""
        return f"{self.bucket}/{self.prefix}"

    def digest(self) -> str | None:
        """Of its manifest, `sha256:<hex>`; None when there is no such version.

        Raises:
            BucketError: the bucket cannot be read.
        """
        data = self._manifest()
        return None if data is None else digest_of(data)

    def push(self, folder: Path, say: Callable[[str], None]) -> str:
        """Put the files of `folder` there; the digest of the set. What is there is not sent again.

        The manifest comes last: without it there is no version, however many files there are.

        Raises:
            BucketError: other data has that version, which is never changed; or S3 refuses.
            DataError: there are no files.
        """
        manifest = manifest_of(folder)
        digest = digest_of(manifest)
        if self._is_there(digest):
            return digest
        names = sorted(parse_manifest(manifest, str(folder), None))
        client = _client(self.name)

        def bring(name: str) -> str:
            Upload(
                s3=client, bucket=self.bucket, key=self._key(name), parts=Parts.of(folder / name),
                say=say,
            ).run()  # fmt: skip
            return name

        self._bring(names, bring, say)
        self._finish(client, manifest, digest)
        return digest

    def copy_of(self, other: "BucketSet", say: Callable[[str], None]) -> str:
        """Have in this place what `other` has, without its passing through here; its digest.

        Raises:
            BucketError: there is nothing, or other data has this version, or S3 refuses.
            DataError: the manifest there is none.
        """
        manifest = other._there()
        digest = digest_of(manifest)
        if self._is_there(digest):
            return digest
        names = sorted(parse_manifest(manifest, f"s3://{other.name}/{NAME}", None))
        client = _client(self.name)

        def bring(name: str) -> str:
            client.copy(
                {"Bucket": other.bucket, "Key": other._key(name)}, self.bucket, self._key(name),
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
            )  # fmt: skip
            return name

        self._bring(names, bring, say)
        self._finish(client, manifest, digest)
        return digest

    def tree(self, digest: str) -> Tree:
        """The files as part of an image, with their manifest, which has to have that digest.

        Raises:
            BucketError, DataError: it is not there, or is not what the manifest says.
        """
        data = self._there()
        files = parse_manifest(data, f"s3://{self.name}/{NAME}", digest)
        client = _client(self.name)
        tree: Tree = {f"{DATA}/{NAME}": Entry(mode=PLAIN, read=lambda: data)}
        for name, sha256 in files.items():
            path = self._file(client, name, sha256)
            tree[f"{DATA}/{name}"] = Entry(mode=PLAIN, read=path.read_bytes)
        return tree

    def _bring(
        self, names: list[str], bring: Callable[[str], str], say: Callable[[str], None]
    ) -> None:
        with _errors(self.name), ThreadPoolExecutor(_AT_ONCE) as pool:
            for number, name in enumerate(pool.map(bring, names), 1):
                say(f"{number} of {len(names)}: {name}")

    def _there(self) -> bytes:
        """The manifest of a version that has to be there."""
        data = self._manifest()
        if data is None:
            raise BucketError(f"s3://{self.name}: there is no set of data; `berth data push` it")
        return data

    def _is_there(self, digest: str) -> bool:
        there = self.digest()
        if there not in (None, digest):
            raise BucketError(
                f"s3://{self.name} has other data ({there}); give these a new version"
            )
        return there is not None

    def _finish(self, client: Any, manifest: bytes, digest: str) -> None:
        from botocore.exceptions import ClientError

        with _errors(self.name):
            try:
                # Only where there is none: of two that push at once, one makes the version.
                client.put_object(
                    Bucket=self.bucket, Key=self._key(NAME), Body=manifest, IfNoneMatch="*"
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "412"):
                    raise
                self._is_there(digest)

    def _manifest(self) -> bytes | None:
        from botocore.exceptions import ClientError

        with _errors(self.name):
            try:
                answer = _client(self.name).get_object(Bucket=self.bucket, Key=self._key(NAME))
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
            return bytes(answer["Body"].read())

    def _file(self, client: Any, name: str, sha256: str) -> Path:
        """A file of the set as one of the cache, which has it by what it is."""
        if not _SHA256.fullmatch(sha256):
            raise BucketError(f"s3://{self.name}/{NAME}: {sha256!r} of {name} is no sha256")
        path = cache_folder("blobs") / f"sha256-{sha256}"
        if not path.exists():
            with written_whole(path) as beside, _errors(self.name):
                client.download_file(self.bucket, self._key(name), str(beside))
                check_file(beside, name, sha256)
        return path

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"


def _client(place: str) -> Any:
    import boto3

    with _errors(place):
        return boto3.client("s3")


@contextlib.contextmanager
def _errors(place: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise BucketError(f"s3://{place}: {error}") from error
