"""`berth data`: datasets, which are versioned and promoted separately from the models."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.errors import OperationError
from berth.operations.configuration import dump_configuration, load_configuration
from berth.platforms import get_platform
from berth.spec import DatasetSpec, HostingSpec, load_file
from berth_data.manifest import DatasetError, write_manifest
from pulumi_berth.datasets.artifact import push_dataset as push_to_registry
from pulumi_berth.datasets.bucket_dataset import BucketDataset, BucketError
from pulumi_berth.files import replace_atomically
from pulumi_berth.oci.registry import RegistryError, Repository

OWN_BUCKET = "the stack's own bucket"
# The kind of its layer in an image: see pulumi_berth/images/built_image.py.
_BUCKET_KIND = "bucket-dataset"


def push_dataset(
    directory: Path, target: str, version: str, *, plain_http: bool, say: Callable[[str], None]
) -> str:
    """Upload a directory as a version of a dataset, and return its digest.

    Args:
        target: `oci://registry/name`, `s3://bucket/prefix`, or a directory, such as a mounted
            claim. In a bucket or directory, the dataset is stored under `version`.

    Raises:
        OperationError: If the upload fails, or the version exists with different content.
    """
    source = urlsplit(target)
    try:
        if source.scheme == "oci":
            repository = Repository(name=source.netloc + source.path, plain_http=plain_http)
            return push_to_registry(directory, repository, version)
        if source.scheme == "s3":
            bucket = BucketDataset.parse(f"{source.netloc}{source.path.rstrip('/')}/{version}")
            return bucket.push(directory, say)
        if source.scheme:
            raise OperationError(
                f"'{target}' is not a valid target. Use oci://registry/name, s3://bucket/prefix, "
                "or a directory."
            )
        return _copy(directory, Path(target) / version)
    except (RegistryError, BucketError, DatasetError, OSError) as error:
        raise OperationError(str(error)) from error


def _copy(directory: Path, target: Path) -> str:
    """Copy into a draft, write the manifest, and only then rename the draft."""
    if target.exists():
        raise OperationError(f"{target} exists. Use a new version.")
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(directory, draft)
    digest = write_manifest(draft)
    draft.rename(target)
    return digest


def list_datasets(spec: HostingSpec) -> dict[str, Any]:
    """Return the datasets that a stack reads: version, digest, source and models."""
    return {
        name: {
            "version": entry.version,
            "digest": entry.digest,
            "source": entry.source or OWN_BUCKET,
            "models": list(entry.models),
        }
        for name, entry in spec.data.datasets.items()
    }


def promote_dataset(
    name: str, root: Path, *, source: str, target: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the version and digest that stack `source` reads into the file of stack `target`.

    If both stacks read it from their own buckets, the data is copied first. Nothing else of the
    target changes. Its next `up` moves the models' Pods to the new data.

    Raises:
        OperationError: If one of the stacks does not read the dataset, or copying fails.
    """
    path = root / f"Pulumi.{target}.yaml"
    source_spec, target_spec = load_file(root / f"Pulumi.{source}.yaml"), load_file(path)
    for stack, spec in ((source, source_spec), (target, target_spec)):
        if name not in spec.data.datasets:
            raise OperationError(
                f"Stack '{stack}' has no dataset '{name}'. Datasets: "
                f"{', '.join(spec.data.datasets) or 'none'}."
            )
    promoted = source_spec.data.datasets[name]
    if promoted.source is None and target_spec.data.datasets[name].source is None:
        copy_own_dataset(name, promoted, (source_spec, source), (target_spec, target), say)
    text = path.read_text()
    yaml, document = load_configuration(text)
    entry = document["config"]["berth:data"]["datasets"][name]
    previous = entry["version"]
    entry["version"] = promoted.version
    if promoted.digest is not None:
        entry["digest"] = promoted.digest
    else:
        entry.pop("digest", None)
    replace_atomically(path, dump_configuration(yaml, document, text), mode=0o644)
    return {"dataset": name, "stack": target, "from": str(previous), "to": promoted.version}


def copy_own_dataset(
    name: str,
    promoted: DatasetSpec,
    source: tuple[HostingSpec, str],
    target: tuple[HostingSpec, str],
    say: Callable[[str], None],
) -> None:
    """Copy a version of a dataset from the own bucket of one stack to that of another.

    Args:
        source: Specification and name of the stack.
        target: Likewise.

    Raises:
        OperationError: If copying fails, or the source does not have the pinned digest.
    """
    key = f"{name}/{promoted.version}"
    _copy_between_buckets(_open_own(*source, key), _open_own(*target, key), promoted.digest, say)


def read_dataset_digest(
    name: str, version: str, source: str | None, spec: HostingSpec, stack: str
) -> str | None:
    """Return the digest of a version of a dataset, or None if the version does not exist.

    Args:
        source: Location as in `berth:data`. None for the own bucket of the stack.

    Raises:
        OperationError: If this machine cannot read it.
    """
    location = urlsplit(source or "")
    path = location.netloc + location.path.rstrip("/")
    try:
        if source is None:
            return _open_own(spec, stack, f"{name}/{version}").digest()
        if location.scheme == "s3":
            return BucketDataset.parse(f"{path}/{version}").digest()
        if location.scheme == "oci":
            repository = Repository(name=path, plain_http=spec.registry.plain_http)
            return repository.digest_of(version)
    except (BucketError, DatasetError, RuntimeError) as error:
        raise OperationError(str(error)) from error
    raise OperationError(f"Only pods of the stack can read {source}.")


def read_recorded_dataset(kind: str, name: str, digest: str, spec: HostingSpec) -> str | None:
    """Return the digest of a dataset that an update read, or None if it does not exist.

    Args:
        kind: `bucket-dataset`, or another kind for an artifact in a registry.
        name: `bucket/prefix/version`, or `registry/name`.
        digest: The digest that the update read, by which a registry finds an artifact.

    Raises:
        OperationError: If this machine cannot read it.
    """
    try:
        if kind == _BUCKET_KIND:
            return BucketDataset.parse(name).digest()
        return Repository(name=name, plain_http=spec.registry.plain_http).digest_of(digest)
    except (BucketError, DatasetError, RuntimeError) as error:
        raise OperationError(str(error)) from error


def _open_own(spec: HostingSpec, stack: str, key: str) -> BucketDataset:
    open_own_dataset = get_platform(spec.platform).open_own_dataset
    # The specification requires a source on platforms whose stacks have no bucket.
    assert open_own_dataset is not None
    return open_own_dataset(spec, stack, key)


def _copy_between_buckets(
    source: BucketDataset, target: BucketDataset, pinned: str | None, say: Callable[[str], None]
) -> None:
    try:
        if pinned not in (None, source.digest()):
            raise OperationError(
                f"s3://{source.name} does not have the pinned digest {pinned}. Nothing was copied."
            )
        target.copy_from(source, say)
    except (BucketError, DatasetError) as error:
        raise OperationError(str(error)) from error


def format_datasets(datasets: dict[str, Any]) -> str:
    """Return the datasets as text."""
    return "\n".join(
        f"{name} {entry['version']} ({entry['digest'] or 'not pinned'}) from {entry['source']} "
        f"for {', '.join(entry['models'])}"
        for name, entry in datasets.items()
    ) or "no datasets"  # fmt: skip
