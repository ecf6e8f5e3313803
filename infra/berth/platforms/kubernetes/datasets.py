"""The sets of data of a stack: where each version lies, and how a berth gets it."""

from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

from berth.spec import DatasetSpec, HostingSpec, SpecError
from pulumi_berth.datasets.bucket_dataset import BucketError, BucketSet
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.data_image import DataImage, DataImageArgs, DataInImage
from pulumi_berth.kubernetes.data_mount import DataMount
from pulumi_berth.oci.registry import RegistryError, Repository


def data_mounts(
    spec: HostingSpec, settings: ImageSettings, own_bucket: str | None
) -> Mapping[str, list[DataMount]]:
    """Model -> the sets that it reads.

    Args:
        own_bucket: with the sets that name no source, each below its name.

    Raises:
        SpecError: a set or its version is not where it shall be, or has another digest.
    """
    sources = {name: _source(name, entry, own_bucket) for name, entry in spec.data.datasets.items()}
    on_claims = any(source.scheme == "pvc" for source in sources.values())
    checker = DataImage("data", DataImageArgs(settings=settings)) if on_claims else None
    mounts = {
        name: _mount(name, entry, sources[name], settings, checker)
        for name, entry in spec.data.datasets.items()
    }
    return {
        model: [mounts[name] for name, entry in spec.data.datasets.items() if model in entry.models]
        for model in spec.models
    }


def _source(name: str, entry: DatasetSpec, own_bucket: str | None) -> SplitResult:
    if entry.source is not None:
        return urlsplit(entry.source)
    if own_bucket is None:
        raise SpecError.of(
            f"berth:data.datasets.{name}.source: is missing; oci://registry/name, s3://bucket/prefix"
            " "
            "or pvc://claim/folder (only on aws a stack has a bucket of its own)"
        )
    return urlsplit(f"s3://{own_bucket}/{name}")


def _mount(
    name: str,
    entry: DatasetSpec,
    source: SplitResult,
    settings: ImageSettings,
    checker: DataImage | None,
) -> DataMount:
    if source.scheme == "pvc":
        assert checker is not None
        folder = "/".join(part for part in (source.path.strip("/"), entry.version) if part)
        return DataMount(
            name=name,
            image=checker.reference,
            claim=source.netloc,
            folder=folder,
            digest=entry.digest,
        )
    image = DataImage(
        f"data-{name}",
        DataImageArgs(settings=settings, data=_in_image(name, entry, source, settings)),
    )
    return DataMount(name=name, image=image.reference)


def _in_image(
    name: str, entry: DatasetSpec, source: SplitResult, settings: ImageSettings
) -> DataInImage:
    place = source.netloc + source.path.rstrip("/")
    if source.scheme == "s3":
        there = BucketSet.of(f"{place}/{entry.version}")
        found = _digest(name, entry, there.digest, f"s3://{place}")
        return DataInImage(
            name=name, version=entry.version, kind="bucket", repository=there.name, digest=found
        )
    repository = Repository(name=place, plain_http=settings.plain_http)
    found = _digest(name, entry, lambda: repository.digest_of(entry.version), f"oci://{place}")
    return DataInImage(name=name, version=entry.version, repository=place, digest=found)


def _digest(name: str, entry: DatasetSpec, ask: Callable[[], str | None], place: str) -> str:
    where = f"berth:data.datasets.{name}"
    try:
        found = ask()
    except (RegistryError, BucketError) as error:
        raise SpecError.of(f"{where}: {error}") from error
    if found is None:
        raise SpecError.of(
            f"{where}.version: {place} has no version {entry.version}; "
            f"`berth data push FOLDER {place} --version {entry.version}` makes it"
        )
    if entry.digest not in (None, found):
        raise SpecError.of(
            f"{where}.digest: {entry.digest} is not the digest of {place}, version "
            f"{entry.version}, {found}; put the pinned data back, or pin the present ones"
        )
    return found
