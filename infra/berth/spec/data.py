"""Reference data that models read at run time. Deployed independently of the models."""

from typing import Annotated

from pydantic import Field

from berth.spec.fields import Digest, Name, Region, Section, Text, Version

DataSource = Annotated[
    str,
    Text(
        r"(oci|s3|pvc):\/\/[A-Za-z0-9][A-Za-z0-9._:@\/-]{1,500}",
        "oci://registry/name, s3://bucket/prefix or pvc://claim/directory",
    ),
]


class DatasetSpec(Section):
    """One version of a dataset."""

    version: Version
    """Version that this stack reads."""
    digest: Digest | None = None
    """Digest that pins the version: the SHA-256 of its manifest, which lists the SHA-256 of every
    file. By default, the version is not pinned."""
    source: DataSource | None = None
    """Location: an OCI artifact, an S3-compatible bucket or a PersistentVolumeClaim of the
    namespace. On aws, defaults to the stack's own bucket."""
    models: list[Name] = Field(min_length=1, max_length=1000)
    """Models that mount the dataset, read-only, at `/data/<name>`."""


class DataSpec(Section):
    """Datasets, and the retention settings of the bucket that stores them."""

    datasets: dict[Name, DatasetSpec] = Field(default={}, max_length=200)
    """Datasets by name."""
    noncurrent_version_days: int = Field(default=90, ge=1, le=3650)
    """aws: Days to keep overwritten and deleted objects for recovery."""
    archive_after_days: int | None = Field(default=None, ge=30, le=3650)
    """aws: Days until an object moves to infrequent-access storage. Defaults to never."""
    replica_region: Region | None = None
    """aws: Region that stores a replica of the bucket. Defaults to no replica."""
