"""The sets of data of a stack: where each version lies, and how a berth gets it."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from components.built_image import ImageSettings
from components.data_image import DataImage, DataImageArgs, DataInImage
from components.data_mount import DataMount
from components.image.registry import RegistryError, Repository
from infra.spec import DataSetSpec, HostingSpec, SpecError


def data_mounts(spec: HostingSpec, settings: ImageSettings) -> Mapping[str, list[DataMount]]:
    """Model -> the sets that it reads.

    Raises:
        SpecError: a set or its version is not where it shall be, or has another digest.
    """
    on_claims = any(_scheme(entry) == "pvc" for entry in spec.data.sets.values())
    checker = DataImage("data", DataImageArgs(settings=settings)) if on_claims else None
    mounts = {
        name: _mount(name, entry, settings, checker) for name, entry in spec.data.sets.items()
    }
    return {
        model: [mounts[name] for name, entry in spec.data.sets.items() if model in entry.models]
        for model in spec.models
    }


def _scheme(entry: DataSetSpec) -> str:
    return urlsplit(entry.source or "").scheme


def _mount(
    name: str, entry: DataSetSpec, settings: ImageSettings, checker: DataImage | None
) -> DataMount:
    if entry.source is None:
        raise SpecError.of(
            f"berth:data.sets.{name}.source: is missing: the stack's own bucket is not made by "
            "this version; oci://registry/name or pvc://claim/folder"
        )
    source = urlsplit(entry.source)
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
    if source.scheme == "s3":
        raise SpecError.of(
            f"berth:data.sets.{name}.source: {entry.source}: buckets are not read by this version; "
            "`berth data push` makes an oci:// set, pvc:// reads a claim"
        )
    repository = source.netloc + source.path
    image = DataImage(
        f"data-{name}",
        DataImageArgs(
            settings=settings,
            data=DataInImage(
                name=name,
                version=entry.version,
                repository=repository,
                digest=_digest(
                    name, entry, Repository(name=repository, plain_http=settings.plain_http)
                ),
            ),
        ),
    )
    return DataMount(name=name, image=image.reference)


def _digest(name: str, entry: DataSetSpec, repository: Repository) -> str:
    where = f"berth:data.sets.{name}"
    try:
        found = repository.digest_of(entry.version)
    except RegistryError as error:
        raise SpecError.of(f"{where}: {error}") from error
    if found is None:
        raise SpecError.of(
            f"{where}.version: {repository.name} has no version {entry.version}; "
            f"`berth data push FOLDER oci://{repository.name} --version {entry.version}` makes it"
        )
    if entry.digest not in (None, found):
        raise SpecError.of(
            f"{where}.digest: {entry.digest} is not the digest of {repository.name}:"
            f"{entry.version}, {found}; put the pinned data back, or pin the present ones"
        )
    return found
