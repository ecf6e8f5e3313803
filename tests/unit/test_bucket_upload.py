"""Resumable uploads to S3, with the responses that AWS documents.

The emulator does not return the checksums of parts.
"""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from pulumi_berth.datasets.bucket_upload import FileParts, Upload

_MIB = 1 << 20
_OBJECT = {"Bucket": "ours", "Key": "sets/7/large.bin"}


@pytest.fixture
def parts(tmp_path: Path) -> FileParts:
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * 16 * _MIB + b"b" * 16 * _MIB + b"end")
    return FileParts.split(path)


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _upload(s3: Any, parts: FileParts, lines: list[str]) -> None:
    Upload(s3=s3, bucket=_OBJECT["Bucket"], key=_OBJECT["Key"], parts=parts, log=lines.append).run()


@pytest.fixture
def s3() -> Any:
    return boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def _interrupted(upload: str, minute: int, **further: str) -> dict[str, Any]:
    initiated = datetime(2026, 1, 2, 3, minute, tzinfo=UTC)
    return {"Key": _OBJECT["Key"], "UploadId": upload, "Initiated": initiated, **further}


def test_resumed_upload_sends_only_missing_and_different_parts(s3: Any, parts: FileParts) -> None:
    sums = [_checksum(parts.read(number)) for number in range(3)]
    lines: list[str] = []
    with Stubber(s3) as stub:
        stub.add_client_error("head_object", "404")
        stub.add_response(
            "list_multipart_uploads",
            {
                "Uploads": [
                    _interrupted("older", 4, ChecksumAlgorithm="SHA256"),
                    _interrupted("latest", 5, ChecksumAlgorithm="SHA256"),
                    _interrupted("other-sums", 6, ChecksumAlgorithm="CRC32"),
                    {**_interrupted("other-file", 7), "Key": f"{_OBJECT['Key']}.old"},
                ]
            },
            {"Bucket": _OBJECT["Bucket"], "Prefix": _OBJECT["Key"]},
        )
        uploaded = [
            {"PartNumber": 1, "ETag": "one", "ChecksumSHA256": sums[0]},
            {"PartNumber": 2, "ETag": "wrong", "ChecksumSHA256": _checksum(b"wrong")},
        ]
        request = {**_OBJECT, "UploadId": "latest"}
        stub.add_response("list_parts", {"Parts": uploaded}, request)
        for number, tag in ((2, "two"), (3, "three")):
            sent = {"PartNumber": number, "Body": ANY, "ChecksumSHA256": sums[number - 1]}
            stub.add_response("upload_part", {"ETag": tag}, {**request, **sent})
        complete = [
            {"PartNumber": number, "ETag": tag, "ChecksumSHA256": sums[number - 1]}
            for number, tag in ((1, "one"), (2, "two"), (3, "three"))
        ]
        stub.add_response(
            "complete_multipart_upload", {}, {**request, "MultipartUpload": {"Parts": complete}}
        )
        _upload(s3, parts, lines)
        stub.assert_no_pending_responses()
    assert lines == ["large.bin: part 2 of 3", "large.bin: part 3 of 3"]


@pytest.mark.parametrize("suffix", ["", "-3"])
def test_existing_object_is_not_uploaded_again(s3: Any, parts: FileParts, suffix: str) -> None:
    of_parts = b"".join(hashlib.sha256(parts.read(number)).digest() for number in range(3))
    with Stubber(s3) as stub:
        stub.add_response(
            "head_object",
            {"ChecksumSHA256": _checksum(of_parts) + suffix},
            {**_OBJECT, "ChecksumMode": "ENABLED"},
        )
        _upload(s3, parts, [])
        stub.assert_no_pending_responses()


def test_parts_contain_the_complete_file(parts: FileParts) -> None:
    assert b"".join(parts.read(number) for number in range(3)) == parts.path.read_bytes()
    assert len(parts.checksums) == 3


def test_empty_file_has_one_part(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    parts = FileParts.split(tmp_path / "empty")
    assert (len(parts.checksums), parts.read(0), parts.checksum) == (1, b"", _checksum(b""))


def test_large_file_has_at_most_the_parts_that_s3_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_berth.datasets.bucket_upload._MAX_PARTS", 2)
    path = tmp_path / "huge"
    path.write_bytes(b"a" * (48 * _MIB + 1))
    parts = FileParts.split(path)
    assert (len(parts.checksums), parts.size) == (2, 25 * _MIB)
