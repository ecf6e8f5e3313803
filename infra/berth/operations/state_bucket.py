"""The S3 bucket that Pulumi keeps stacks in."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from berth.errors import OperationError
from berth.operations.state_step import Step
from berth.platforms.aws.errors import get_code
from pulumi_berth.aws.bucket_plan import build_bucket_policy, require_kms_key, require_tls

# Without dots, which S3 takes: its certificate does not cover a host name with more of them.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_FORMER_DAYS, _UPLOAD_DAYS = 90, 7
_RULE = "berth-state"
_CLOSED = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": True,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}


def why_no_name(bucket: str) -> str | None:
    """Why a bucket cannot have this name; None when it can.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if _NAME.fullmatch(bucket):
        return None
    return (
        f"{bucket!r} is not 3 to 63 lower-case letters, digits and hyphens, beginning and ending "
        "with a letter or digit"
    )


@dataclass(frozen=True, kw_only=True)
class StateBucket:
    """A bucket that state is kept in, versioned and encrypted, and that nobody else reaches.

    Attributes:
        s3: AWS's client, of the region that the bucket lies in.
        name: of the bucket.
        account: number of the account that owns it.
    """

    s3: Any
    name: str
    account: str

    def is_there(self) -> bool:
        """Whether it is there already.

        Raises:
            OperationError: it is somebody else's, or lies elsewhere.
            ClientError: AWS refuses.
        """
        try:
            answer = self.s3.head_bucket(**self._ours)
        except ClientError as error:
            code = get_code(error)
            if code == "404":
                return False
            if code == "403":
                raise OperationError(
                    f"bucket {self.name} belongs to another account than {self.account}, or you "
                    "may not see it; choose another name with --bucket"
                ) from error
            raise
        there, here = answer.get("BucketRegion"), self.s3.meta.region_name
        if there not in (None, here):
            raise OperationError(
                f"bucket {self.name} lies in {there}, not in {here}: --region {there}, or another "
                "name with --bucket"
            )
        return True

    def ensure(self, key: str) -> list[Step]:
        """Make it unless it is there, and change what is not as it shall be. What it has beside
        that (rules and statements of others) stays.

        Args:
            key: ARN of the key that objects are encrypted with.

        Raises:
            OperationError: it is somebody else's, or lies elsewhere.
            ClientError: AWS refuses.
        """
        found = self.is_there()
        if not found:
            self._make()
        steps = [Step(what=f"bucket {self.name}", did="found" if found else "made")]
        for setting in self._settings(key):
            changed = self._changed(setting)
            if found:
                said = f"{setting.what} of {self.name}"
                steps.append(Step(what=said, did="changed" if changed else "found"))
        return steps

    def _make(self) -> None:
        region = self.s3.meta.region_name
        # us-east-1 is where a bucket lies that says nothing, and cannot be said.
        where: dict[str, Any] = (
            {}
            if region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            self.s3.create_bucket(Bucket=self.name, **where)
        except ClientError as error:
            code = get_code(error)
            if code == "BucketAlreadyExists":
                raise OperationError(
                    f"bucket {self.name} belongs to another account than {self.account}; names are "
                    "shared by all of AWS: choose another with --bucket"
                ) from error
            if code == "InvalidBucketName":
                raise OperationError(
                    f"S3 does not take {self.name} as a name; choose another with --bucket"
                ) from error
            raise
        self.s3.get_waiter("bucket_exists").wait(**self._ours)

    @property
    def _ours(self) -> dict[str, str]:
        """The bucket, as long as it is this account's: somebody else could have its name since."""
        return {"Bucket": self.name, "ExpectedBucketOwner": self.account}

    def _changed(self, setting: "_Setting") -> bool:
        """Bring one setting to what it shall be, unless it is."""
        try:
            found = setting.read()
        except ClientError as error:
            if get_code(error) != setting.missing:
                raise
            found = None
        wanted = setting.wanted(found)
        if found == wanted:
            return False
        setting.write(wanted)
        return True

    def _settings(self, key: str) -> list["_Setting"]:
        s3, ours = self.s3, self._ours
        return [
            _Setting(
                what="public access block",
                missing="NoSuchPublicAccessBlockConfiguration",
                read=lambda: s3.get_public_access_block(**ours)["PublicAccessBlockConfiguration"],
                wanted=lambda _: _CLOSED,
                write=lambda value: s3.put_public_access_block(
                    **ours, PublicAccessBlockConfiguration=value
                ),
            ),
            _Setting(
                what="ownership",
                missing="OwnershipControlsNotFoundError",
                read=lambda: s3.get_bucket_ownership_controls(**ours)["OwnershipControls"]["Rules"],
                wanted=lambda _: [{"ObjectOwnership": "BucketOwnerEnforced"}],
                write=lambda value: s3.put_bucket_ownership_controls(
                    **ours, OwnershipControls={"Rules": value}
                ),
            ),
            _Setting(
                what="versioning",
                read=lambda: s3.get_bucket_versioning(**ours).get("Status"),
                wanted=lambda _: "Enabled",
                write=lambda value: s3.put_bucket_versioning(
                    **ours, VersioningConfiguration={"Status": value}
                ),
            ),
            _Setting(
                what="encryption",
                missing="ServerSideEncryptionConfigurationNotFoundError",
                read=lambda: s3.get_bucket_encryption(**ours)["ServerSideEncryptionConfiguration"][
                    "Rules"
                ],
                wanted=lambda found: _encryption(found, key),
                write=lambda value: s3.put_bucket_encryption(
                    **ours, ServerSideEncryptionConfiguration={"Rules": value}
                ),
            ),
            _Setting(
                what="lifecycle",
                missing="NoSuchLifecycleConfiguration",
                read=lambda: s3.get_bucket_lifecycle_configuration(**ours)["Rules"],
                wanted=_lifecycle,
                write=lambda value: s3.put_bucket_lifecycle_configuration(
                    **ours, LifecycleConfiguration={"Rules": value}
                ),
            ),
            _Setting(
                what="policy",
                missing="NoSuchBucketPolicy",
                read=lambda: _statements_of(s3.get_bucket_policy(**ours)["Policy"]),
                wanted=lambda found: _statements(found, f"arn:aws:s3:::{self.name}", key),
                write=lambda value: s3.put_bucket_policy(
                    **ours, Policy=build_bucket_policy(*value)
                ),
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """One setting of the bucket.

    Attributes:
        what: it is called.
        read: asks for it.
        wanted: what it shall be, where it is what is given (None: nothing).
        write: sets it.
        missing: AWS's word for that there is none.
    """

    what: str
    read: Callable[[], Any]
    wanted: Callable[[Any], Any]
    write: Callable[[Any], Any]
    missing: str | None = None


def _encryption(found: list[dict[str, Any]] | None, key: str) -> list[dict[str, Any]]:
    """With what else the bucket's one rule says, such as which encryption is blocked."""
    (rule,) = found or [{}]
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    return [rule | {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}]


def _statements_of(policy: str) -> list[dict[str, Any]]:
    found = json.loads(policy)["Statement"]
    return [found] if isinstance(found, dict) else found  # IAM takes one without a list


def _statements(found: list[dict[str, Any]] | None, bucket: str, key: str) -> list[dict[str, Any]]:
    return _with(found, "Sid", [require_tls(bucket), *require_kms_key(bucket, key)])


def _lifecycle(found: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    ours = {
        "ID": _RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": _FORMER_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UPLOAD_DAYS},
    }
    return _with(found, "ID", [ours])


def _with(
    found: list[dict[str, Any]] | None, key: str, ours: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """`found` with `ours` in the place of what has their names, in an order that stays."""
    wanted: Mapping[str, dict[str, Any]] = {one[key]: one for one in ours}
    kept = [wanted.get(one.get(key, ""), one) for one in found or []]
    return [*kept, *(one for one in ours if one not in kept)]
