"""Resumable uploads to S3: a file in parts, each with a checksum that S3 verifies."""

import base64
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ALGORITHM = "SHA256"
_MIB = 1 << 20
_PART_BYTES = 16 * _MIB
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_MAX_PARTS = 10_000


@dataclass(frozen=True, kw_only=True)
class FileParts:
    """A file, divided into parts.

    Attributes:
        path: Path of the file.
        size: Size of each part except the last, in bytes.
        checksums: SHA-256 of each part.
    """

    path: Path
    size: int
    checksums: list[bytes]

    @classmethod
    def split(cls, path: Path) -> "FileParts":
        """Divide a file into parts of 16 MiB, or larger parts if S3 allows no more parts."""
        size = max(_PART_BYTES, math.ceil(path.stat().st_size / _MAX_PARTS / _MIB) * _MIB)
        with path.open("rb") as stream:
            checksums = [
                hashlib.sha256(part).digest() for part in iter(lambda: stream.read(size), b"")
            ]
        return cls(path=path, size=size, checksums=checksums or [hashlib.sha256().digest()])

    def read(self, number: int) -> bytes:
        """Read part `number`. The first part is 0."""
        with self.path.open("rb") as stream:
            stream.seek(number * self.size)
            return stream.read(self.size)

    @property
    def checksum(self) -> str:
        """The checksum that S3 reports for the object.

        For several parts, S3 adds a hyphen and the number of parts, which this value omits.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
        """
        if len(self.checksums) == 1:
            return _encode(self.checksums[0])
        return _encode(hashlib.sha256(b"".join(self.checksums)).digest())


@dataclass(frozen=True, kw_only=True)
class Upload:
    """The upload of a file to an object.

    Attributes:
        s3: S3 client.
        bucket: Bucket of the object.
        key: Key of the object.
        parts: The file.
        log: Receives one line for each uploaded part of a file with several parts.
    """

    s3: Any
    bucket: str
    key: str
    parts: FileParts
    log: Callable[[str], None]

    def run(self) -> None:
        """Upload the file unless the object exists. Continue an interrupted upload."""
        if self._exists():
            return
        if len(self.parts.checksums) == 1:
            self.s3.put_object(
                **self._object,
                Body=self.parts.read(0),
                ChecksumAlgorithm=_ALGORITHM,
                ChecksumSHA256=self.parts.checksum,
            )
            return
        upload_id, uploaded = self._begin()
        parts = [
            self._upload_part(upload_id, number, uploaded)
            for number in range(len(self.parts.checksums))
        ]
        self.s3.complete_multipart_upload(
            **self._object, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )

    @property
    def _object(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    def _exists(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            response = self.s3.head_object(**self._object, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            return False
        checksum, _, _ = response.get("ChecksumSHA256", "").partition("-")
        return bool(checksum == self.parts.checksum)

    def _begin(self) -> tuple[str, dict[int, dict[str, Any]]]:
        """Return the latest interrupted upload and its parts, or a new upload without parts."""
        pages = self.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self.key
        )
        interrupted = [
            upload
            for page in pages
            for upload in page.get("Uploads", [])
            if upload["Key"] == self.key
            and upload.get("ChecksumAlgorithm", _ALGORITHM) == _ALGORITHM
        ]
        if not interrupted:
            response = self.s3.create_multipart_upload(**self._object, ChecksumAlgorithm=_ALGORITHM)
            return str(response["UploadId"]), {}
        latest = max(interrupted, key=lambda upload: upload["Initiated"])
        upload_id = str(latest["UploadId"])
        pages = self.s3.get_paginator("list_parts").paginate(**self._object, UploadId=upload_id)
        return upload_id, {
            part["PartNumber"]: part for page in pages for part in page.get("Parts", [])
        }

    def _upload_part(
        self, upload_id: str, number: int, uploaded: dict[int, dict[str, Any]]
    ) -> dict[str, Any]:
        """Upload a part unless S3 has it, and return its entry for the end of the upload."""
        part_number, checksum = number + 1, _encode(self.parts.checksums[number])
        part = uploaded.get(part_number, {})
        if part.get("ChecksumSHA256") != checksum:
            part = self.s3.upload_part(
                **self._object,
                UploadId=upload_id,
                PartNumber=part_number,
                Body=self.parts.read(number),
                ChecksumSHA256=checksum,
            )
            self.log(f"{self.parts.path.name}: part {part_number} of {len(self.parts.checksums)}")
        return {"PartNumber": part_number, "ETag": part["ETag"], "ChecksumSHA256": checksum}


def _encode(sha256: bytes) -> str:
    return base64.b64encode(sha256).decode()
