"""One file into a bucket, in parts that S3 checks, from where it was interrupted."""

import base64
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUM = "SHA256"
_MIB = 1 << 20
_PART = 16 * _MIB
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_MOST_PARTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A file as it is sent.

    Attributes:
        path: of the file.
        size: of each part but the last, in bytes.
        sums: sha256 of each part.
    """

    path: Path
    size: int
    sums: list[bytes]

    @classmethod
    def of(cls, path: Path) -> "Parts":
        """Parts of 16 MiB, or as large as it takes for no more than S3 takes of them."""
        size = max(_PART, math.ceil(path.stat().st_size / _MOST_PARTS / _MIB) * _MIB)
        with path.open("rb") as stream:
            sums = [hashlib.sha256(part).digest() for part in iter(lambda: stream.read(size), b"")]
        return cls(path=path, size=size, sums=sums or [hashlib.sha256().digest()])

    def read(self, number: int) -> bytes:
        """Part `number`, the first is 0."""
        with self.path.open("rb") as stream:
            stream.seek(number * self.size)
            return stream.read(self.size)

    @property
    def checksum(self) -> str:
        """What S3 says of the whole, without the number of parts that follows it for several.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
        """
        if len(self.sums) == 1:
            return _text(self.sums[0])
        return _text(hashlib.sha256(b"".join(self.sums)).digest())


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file on its way to an object.

    Attributes:
        s3: AWS's client.
        bucket, key: of the object.
        parts: of the file.
        say: is told of every part of several.
    """

    s3: Any
    bucket: str
    key: str
    parts: Parts
    say: Callable[[str], None]

    def run(self) -> None:
        """Put it there, unless it is; what an upload before has brought is not sent again."""
        if self._is_there():
            return
        if len(self.parts.sums) == 1:
            self.s3.put_object(
                **self._object, Body=self.parts.read(0), ChecksumAlgorithm=_SUM,
                ChecksumSHA256=self.parts.checksum,
            )  # fmt: skip
            return
        upload, brought = self._begun()
        self.s3.complete_multipart_upload(
            **self._object,
            UploadId=upload,
            MultipartUpload={
                "Parts": [
                    self._sent(upload, number, brought) for number in range(len(self.parts.sums))
                ]
            },
        )

    @property
    def _object(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    def _is_there(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            found = self.s3.head_object(**self._object, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            return False
        checksum, _, _ = found.get("ChecksumSHA256", "").partition("-")
        return bool(checksum == self.parts.checksum)

    def _begun(self) -> tuple[str, dict[int, dict[str, Any]]]:
        """An upload, and the parts that it has by now; the latest that was begun and not ended."""
        pages = self.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self.key
        )
        begun = [
            one
            for page in pages
            for one in page.get("Uploads", [])
            if one["Key"] == self.key and one.get("ChecksumAlgorithm", _SUM) == _SUM
        ]
        if not begun:
            made = self.s3.create_multipart_upload(**self._object, ChecksumAlgorithm=_SUM)
            return str(made["UploadId"]), {}
        upload = str(max(begun, key=lambda one: one["Initiated"])["UploadId"])
        pages = self.s3.get_paginator("list_parts").paginate(**self._object, UploadId=upload)
        return upload, {
            part["PartNumber"]: part for page in pages for part in page.get("Parts", [])
        }

    def _sent(self, upload: str, number: int, brought: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """A part as the end of the upload names it."""
        in_s3, checksum = number + 1, _text(self.parts.sums[number])
        part = brought.get(in_s3, {})
        if part.get("ChecksumSHA256") != checksum:
            part = self.s3.upload_part(
                **self._object, UploadId=upload, PartNumber=in_s3,
                Body=self.parts.read(number), ChecksumSHA256=checksum,
            )  # fmt: skip
            self.say(f"{self.parts.path.name}: part {in_s3} of {len(self.parts.sums)}")
        return {"PartNumber": in_s3, "ETag": part["ETag"], "ChecksumSHA256": checksum}


def _text(sha256: bytes) -> str:
    return base64.b64encode(sha256).decode()
