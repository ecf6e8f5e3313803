"""The data layer: what models read at run time, deployed apart from the models."""

from typing import Annotated

from pydantic import Field

from berth.spec.section import Section
from berth.spec.text import Digest, Name, Region, Text, Version

DataSource = Annotated[
    str,
    Text(
        r"(oci|s3|pvc):\/\/[A-Za-z0-9][A-Za-z0-9._:@\/-]{1,500}",
        "oci://registry/name, s3://bucket/prefix or pvc://claim/folder",
    ),
]


class DatasetSpec(Section):
    """One set of reference data, in one version."""

    version: Version
    """The version that this stack reads."""
    digest: Digest | None = None
    """Pins the version: the sha256 of its manifest, which names the sha256 of every file."""
    source: DataSource | None = None
    """Where it lies: an OCI artifact, an S3-compatible bucket or a claim of the namespace. On aws
    the stack's own bucket when omitted."""
    models: list[Name] = Field(min_length=1, max_length=1000)
    """The models that it is mounted for, read-only, at `/data/<name>`."""


class DataSpec(Section):
    """Sets of data, and how the bucket that holds them is kept."""

    datasets: dict[Name, DatasetSpec] = Field(default={}, max_length=200)
    """The sets, by name."""
    noncurrent_version_days: int = Field(default=90, ge=1, le=3650)
    """aws: days that an overwritten or deleted object can be had back."""
    archive_after_days: int | None = Field(default=None, ge=30, le=3650)
    """aws: days until an object moves to infrequent-access storage; never when omitted."""
    replica_region: Region | None = None
    """aws: the region with a copy of the bucket; none when omitted."""
