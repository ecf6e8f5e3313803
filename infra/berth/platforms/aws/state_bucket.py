"""The S3 bucket that stores the state of stacks."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from berth.errors import OperationError
from berth.platforms.aws.errors import get_code
from berth.platforms.aws.state_key import Step
from pulumi_berth.aws.bucket_plan import build_bucket_policy, require_kms_key, require_tls

# S3 also allows dots, but its certificate does not cover a host name with more of them.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_NONCURRENT_VERSION_DAYS, _UPLOAD_DAYS = 90, 7
_RULE = "berth-state"
_PUBLIC_ACCESS_BLOCK = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": True,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}


def check_bucket_name(bucket: str) -> str | None:
    """Return why S3 does not allow this name, or None if it does.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if _NAME.fullmatch(bucket):
        return None
    return (
        f"'{bucket}' is not a valid S3 bucket name. Use 3 to 63 lower-case letters, digits and "
        "hyphens, with a letter or digit at both ends."
    )


@dataclass(frozen=True, kw_only=True)
class StateBucket:
    """A private bucket for state, versioned and encrypted.

    Attributes:
        s3: The AWS client for the bucket's Region.
        name: The bucket's name.
        account: Number of the account that owns it.
    """

    s3: Any
    name: str
    account: str

    def exists(self) -> bool:
        """Return whether the bucket exists.

        Raises:
            OperationError: If it belongs to another account or is in another Region.
            ClientError: If AWS rejects the request.
        """
        try:
            response = self.s3.head_bucket(**self._ours)
        except ClientError as error:
            code = get_code(error)
            if code == "404":
                return False
            if code == "403":
                raise OperationError(
                    f"Bucket '{self.name}' belongs to another account than {self.account}, or you "
                    "have no permission to read it. Choose another name with --bucket."
                ) from error
            raise
        actual, expected = response.get("BucketRegion"), self.s3.meta.region_name
        if actual not in (None, expected):
            raise OperationError(
                f"Bucket '{self.name}' is in {actual}, not in {expected}. Add --region {actual}, "
                "or choose another name with --bucket."
            )
        return True

    def ensure(self, key: str) -> list[Step]:
        """Create the bucket if it does not exist, and repair settings that differ.

        Other rules and policy statements are kept.

        Args:
            key: ARN of the key that encrypts the objects.

        Raises:
            OperationError: If it belongs to another account or is in another Region.
            ClientError: If AWS rejects a request.
        """
        exists = self.exists()
        if not exists:
            self._create()
        steps = [Step(target=f"bucket {self.name}", action="unchanged" if exists else "created")]
        for setting in self._settings(key):
            is_changed = self._apply(setting)
            if exists:
                target = f"{setting.name} of {self.name}"
                steps.append(Step(target=target, action="changed" if is_changed else "unchanged"))
        return steps

    def _create(self) -> None:
        region = self.s3.meta.region_name
        # S3 creates buckets in us-east-1 by default, and rejects it as a location constraint.
        location: dict[str, Any] = (
            {}
            if region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            self.s3.create_bucket(Bucket=self.name, **location)
        except ClientError as error:
            code = get_code(error)
            if code == "BucketAlreadyExists":
                raise OperationError(
                    f"Bucket '{self.name}' belongs to another account than {self.account}. Names "
                    "are unique in all of AWS. Choose another with --bucket."
                ) from error
            if code == "InvalidBucketName":
                raise OperationError(
                    f"'{self.name}' is not a valid S3 bucket name. Choose another with --bucket."
                ) from error
            raise
        self.s3.get_waiter("bucket_exists").wait(**self._ours)

    @property
    def _ours(self) -> dict[str, str]:
        """Arguments that reject a bucket of that name in another account."""
        return {"Bucket": self.name, "ExpectedBucketOwner": self.account}

    def _apply(self, setting: "_Setting") -> bool:
        """Write the setting if it differs, and return whether it was written."""
        try:
            current = setting.read()
        except ClientError as error:
            if get_code(error) != setting.missing:
                raise
            current = None
        target = setting.compute(current)
        if current == target:
            return False
        setting.write(target)
        return True

    def _settings(self, key: str) -> list["_Setting"]:
        s3, ours = self.s3, self._ours
        return [
            _Setting(
                name="public access block",
                missing="NoSuchPublicAccessBlockConfiguration",
                read=lambda: s3.get_public_access_block(**ours)["PublicAccessBlockConfiguration"],
                compute=lambda _: _PUBLIC_ACCESS_BLOCK,
                write=lambda value: s3.put_public_access_block(
                    **ours, PublicAccessBlockConfiguration=value
                ),
            ),
            _Setting(
                name="ownership",
                missing="OwnershipControlsNotFoundError",
                read=lambda: s3.get_bucket_ownership_controls(**ours)["OwnershipControls"]["Rules"],
                compute=lambda _: [{"ObjectOwnership": "BucketOwnerEnforced"}],
                write=lambda value: s3.put_bucket_ownership_controls(
                    **ours, OwnershipControls={"Rules": value}
                ),
            ),
            _Setting(
                name="versioning",
                read=lambda: s3.get_bucket_versioning(**ours).get("Status"),
                compute=lambda _: "Enabled",
                write=lambda value: s3.put_bucket_versioning(
                    **ours, VersioningConfiguration={"Status": value}
                ),
            ),
            _Setting(
                name="encryption",
                missing="ServerSideEncryptionConfigurationNotFoundError",
                read=lambda: s3.get_bucket_encryption(**ours)["ServerSideEncryptionConfiguration"][
                    "Rules"
                ],
                compute=lambda current: _encryption(current, key),
                write=lambda value: s3.put_bucket_encryption(
                    **ours, ServerSideEncryptionConfiguration={"Rules": value}
                ),
            ),
            _Setting(
                name="lifecycle",
                missing="NoSuchLifecycleConfiguration",
                read=lambda: s3.get_bucket_lifecycle_configuration(**ours)["Rules"],
                compute=_lifecycle,
                write=lambda value: s3.put_bucket_lifecycle_configuration(
                    **ours, LifecycleConfiguration={"Rules": value}
                ),
            ),
            _Setting(
                name="policy",
                missing="NoSuchBucketPolicy",
                read=lambda: _statements_of(s3.get_bucket_policy(**ours)["Policy"]),
                compute=lambda current: _statements(current, f"arn:aws:s3:::{self.name}", key),
                write=lambda value: s3.put_bucket_policy(
                    **ours, Policy=build_bucket_policy(*value)
                ),
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """One setting of the bucket.

    Attributes:
        name: The setting's name in the list of steps.
        read: Returns the current value.
        compute: Returns the correct value for the current one, or for None if there is none.
        write: Sets the value.
        missing: AWS's error code for a setting that does not exist.
    """

    name: str
    read: Callable[[], Any]
    compute: Callable[[Any], Any]
    write: Callable[[Any], Any]
    missing: str | None = None


def _encryption(current: list[dict[str, Any]] | None, key: str) -> list[dict[str, Any]]:
    """Return the bucket's one rule with our key. Its other keys, such as blocked types, stay."""
    (rule,) = current or [{}]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    return [rule | {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]


def _statements_of(policy: str) -> list[dict[str, Any]]:
    statements = json.loads(policy)["Statement"]
    # IAM allows a single statement without a list.
    return [statements] if isinstance(statements, dict) else statements


def _statements(
    current: list[dict[str, Any]] | None, bucket: str, key: str
) -> list[dict[str, Any]]:
    return _replace(current, "Sid", [require_tls(bucket), *require_kms_key(bucket, key)])


def _lifecycle(current: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    ours = {
        "ID": _RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": _NONCURRENT_VERSION_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UPLOAD_DAYS},
    }
    return _replace(current, "ID", [ours])


def _replace(
    current: list[dict[str, Any]] | None, key: str, ours: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return `current` with `ours` in place of the entries of the same names, in stable order."""
    by_name: Mapping[str, dict[str, Any]] = {entry[key]: entry for entry in ours}
    replaced = [by_name.get(entry.get(key, ""), entry) for entry in current or []]
    return [*replaced, *(entry for entry in ours if entry not in replaced)]
