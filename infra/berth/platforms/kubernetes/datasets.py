"""The datasets of a stack: find each version's source, and build its mount in a berth's pod."""

from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

from berth.spec import DatasetSpec, HostingSpec, SpecError
from pulumi_berth.datasets.bucket_dataset import BucketDataset, BucketError
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.dataset_image import DatasetImage, DatasetImageArgs, ImageDataset
from pulumi_berth.kubernetes.dataset_mount import DatasetMount
from pulumi_berth.oci.registry import RegistryError, Repository


def create_dataset_mounts(
    spec: HostingSpec, settings: ImageSettings, default_bucket: str | None
) -> Mapping[str, list[DatasetMount]]:
    """Declare the images of the datasets. Return the mounts of each model.

    Args:
        default_bucket: Bucket of the datasets that have no `source`, each below its name.

    Raises:
        SpecError: If a dataset or its version does not exist, or has another digest.
    """
    datasets = spec.data.datasets
    sources = {name: _parse_source(name, entry, default_bucket) for name, entry in datasets.items()}
    has_claims = any(source.scheme == "pvc" for source in sources.values())
    verifier = DatasetImage("data", DatasetImageArgs(settings=settings)) if has_claims else None
    mounts = {
        name: _create_mount(name, entry, sources[name], settings, verifier)
        for name, entry in datasets.items()
    }
    return {
        model: [mounts[name] for name, entry in datasets.items() if model in entry.models]
        for model in spec.models
    }


def _parse_source(name: str, entry: DatasetSpec, default_bucket: str | None) -> SplitResult:
    if entry.source is not None:
        return urlsplit(entry.source)
    if default_bucket is None:
        raise SpecError.of(
            f"berth:data.datasets.{name}.source: is missing. Set it to oci://registry/name, "
            "s3://bucket/prefix or pvc://claim/directory. Only aws stacks have a default bucket."
        )
    return urlsplit(f"s3://{default_bucket}/{name}")


def _create_mount(
    name: str,
    entry: DatasetSpec,
    source: SplitResult,
    settings: ImageSettings,
    verifier: DatasetImage | None,
) -> DatasetMount:
    if source.scheme == "pvc":
        assert verifier is not None
        return DatasetMount(
            name=name,
            image=verifier.reference,
            claim=source.netloc,
            sub_path="/".join(part for part in (source.path.strip("/"), entry.version) if part),
            digest=entry.digest,
        )
    data = _find_version(name, entry, source, settings)
    image = DatasetImage(f"data-{name}", DatasetImageArgs(settings=settings, dataset=data))
    return DatasetMount(name=name, image=image.reference)


def _find_version(
    name: str, entry: DatasetSpec, source: SplitResult, settings: ImageSettings
) -> ImageDataset:
    path = source.netloc + source.path.rstrip("/")
    if source.scheme == "s3":
        bucket = BucketDataset.parse(f"{path}/{entry.version}")
        digest = _check_digest(name, entry, bucket.digest, f"s3://{path}")
        return ImageDataset(
            name=name,
            version=entry.version,
            is_in_bucket=True,
            repository=bucket.name,
            digest=digest,
        )
    repository = Repository(name=path, plain_http=bool(settings.plain_http))
    digest = _check_digest(
        name, entry, lambda: repository.digest_of(entry.version), f"oci://{path}"
    )
    return ImageDataset(name=name, version=entry.version, repository=path, digest=digest)


def _check_digest(
    name: str, entry: DatasetSpec, read_digest: Callable[[], str | None], source: str
) -> str:
    key = f"berth:data.datasets.{name}"
    try:
        digest = read_digest()
    except (RegistryError, BucketError) as error:
        raise SpecError.of(f"{key}: {error}") from error
    if digest is None:
        raise SpecError.of(
            f"{key}.version: {source} has no version {entry.version}. Correct the version, or run "
            f"'berth data push DIRECTORY {source} --version {entry.version}' to create it."
        )
    if entry.digest not in (None, digest):
        raise SpecError.of(
            f"{key}.digest: version {entry.version} of {source} has digest {digest}, expected "
            f"{entry.digest}. Restore the pinned data, or pin the new digest."
        )
    return digest
