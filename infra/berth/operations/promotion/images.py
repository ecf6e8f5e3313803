"""Images of a release: which of them the other stack runs by digest, and which are copied for it.

A stack that cannot run the same image builds one from the same model digest. That is so on
platforms without images, and where the other stack builds for other architectures or on another
base.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from berth.errors import OperationError
from berth.operations.missing_images import HasImage
from berth.operations.promotion.release import Release, ReleasedVersion
from berth.platforms import get_platform
from berth.platforms.preflight import Finding, Status
from berth.spec import HostingSpec
from pulumi_berth.images.scan import NO_SCANNER, Scan, ScanError, run_scan
from pulumi_berth.oci.copy import copy_by_digest
from pulumi_berth.oci.descriptor import RegistryContentError
from pulumi_berth.oci.ecr import find_ecr_registry
from pulumi_berth.oci.image_store import is_stored
from pulumi_berth.oci.registry import Repository, split_reference
from pulumi_berth.values import join_first

_TAG_DIGITS = 16
_PARALLEL = 8
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two stacks.

    Attributes:
        stack: Its name.
        spec: Its specification.
        outputs: Outputs of its latest update. Empty if it is not deployed.
    """

    stack: str
    spec: HostingSpec
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageCopy:
    """An image to copy.

    Attributes:
        source: `registry/name@sha256:...`.
        repository: Repository that receives it.
    """

    source: str
    repository: str

    @property
    def digest(self) -> str:
        """Digest of the image, in both registries."""
        return split_reference(self.source)[1]


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """The images of a release in the other stack.

    Attributes:
        pins: (model, version) -> digest of the image that the other stack runs.
        copies: Images that its registry lacks or may lack.
        built: Why it builds images itself, with the versions, one line each.
        problem: Why it can neither run nor build them, and what to do. None if it can.
    """

    pins: Mapping[tuple[str, str], str]
    copies: tuple[ImageCopy, ...] = ()
    built: tuple[str, ...] = ()
    problem: tuple[str, str] | None = None


def list_pushed(release: Release) -> dict[tuple[str, str], str]:
    """Return the references of the images that are in a registry, by model and version."""
    return {
        (model, version): entry.image
        for model, each in release.models.items()
        for version, entry in each.versions.items()
        if entry.image and "@sha256:" in entry.image and not is_stored(entry.image)
    }


def plan_images(release: Release, source: Side, target: Side) -> ImagePlan:
    """Return which images of a release the other stack runs by digest.

    A version in a container of the user's own has no pin: its image is a part of its `container`.
    """
    owner, wanted = _find_owner(source), target.spec.registry.source_stack
    if wanted is not None and wanted not in (source.stack, owner):
        return ImagePlan(
            pins={},
            problem=(
                f"Stack '{target.stack}' runs the images of stack '{wanted}' "
                f"(registry.source_stack), and not those of '{source.stack}'.",
                f"Promote from '{wanted}', or set registry.source_stack to '{source.stack}'.",
            ),
        )
    pins: dict[tuple[str, str], str] = {}
    copies: list[ImageCopy] = []
    built: dict[str, list[str]] = {}
    pushed = list_pushed(release)
    for model, each in release.models.items():
        for version, entry in each.versions.items():
            if entry.spec.container is not None:
                continue
            reason = _find_build_reason(model, pushed.get((model, version)), source, target)
            if reason is not None:
                built.setdefault(reason, []).append(f"{model}/{version}")
                continue
            reference = pushed[model, version]
            repository, digest = split_reference(reference)
            pins[model, version] = digest
            registry = _find_registry(model, repository, source, target)
            if f"{registry}/{model}" != repository:
                copies.append(ImageCopy(source=reference, repository=f"{registry}/{model}"))
    return ImagePlan(
        pins=pins,
        copies=tuple(copies),
        built=tuple(f"{reason}: {', '.join(names)}" for reason, names in built.items()),
    )


def _find_build_reason(model: str, reference: str | None, source: Side, target: Side) -> str | None:
    """Return why the other stack does not run the same image, or None if it does."""
    one, other = source.spec, target.spec
    if "images" not in get_platform(other.platform).sections:
        return f"platform {other.platform} has no images and runs the same model files"
    if reference is None:
        return (
            f"stack '{source.stack}' has no image of it in a registry, so '{target.stack}' builds "
            "one of the same model files"
        )
    missing = sorted(set(other.images.architectures) - set(one.images.architectures))
    if missing:
        return f"'{source.stack}' has no images for {', '.join(missing)}"
    there = other.models.get(model, one.models[model])
    if there.compute != one.models[model].compute:
        return f"'{target.stack}' runs the model on another class of nodes (compute)"
    key = "base_gpu" if there.compute == "gpu" else "base"
    if getattr(other.images, key) != getattr(one.images, key):
        return f"'{target.stack}' has another base image (images.{key})"
    if _find_registry(model, split_reference(reference)[0], source, target) is None:
        return f"'{target.stack}' has no registry with a repository for it yet"
    return None


def _find_registry(model: str, repository: str, source: Side, target: Side) -> str | None:
    """Return the registry and path that the other stack pulls a model's images from, if known.

    On AWS, the registry's host contains the account, so it is read from what is deployed.
    """
    registry = target.spec.registry
    if registry.url is not None:
        return registry.url
    if registry.source_stack in (source.stack, _find_owner(source)):
        # In another Region, ECR's own replication has the same images.
        return repository.rpartition("/")[0]
    versions = target.outputs.get("models", {}).get(model, {}).get("versions", {})
    for entry in versions.values():
        image = str(entry.get("image", ""))
        if "@sha256:" in image and find_ecr_registry(image.partition("/")[0]) is not None:
            return split_reference(image)[0].rpartition("/")[0]
    return None


def _find_owner(side: Side) -> str:
    """Return the stack whose registry a stack uses on AWS."""
    return side.spec.registry.source_stack or side.stack


def check_images(release: Release, source: Side, has_image: HasImage) -> Iterator[Finding]:
    """Check that the registry of the source has each image of a release."""
    missing, unknown = [], []
    pushed = list_pushed(release)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        results = list(zip(pushed.values(), pool.map(has_image, pushed.values()), strict=True))
    for reference, exists in results:
        if exists is None:
            unknown.append(reference)
        elif not exists:
            missing.append(reference)
    if missing:
        yield Finding(
            check="images",
            status=Status.FAILED,
            detail=f"The registry has no {join_first(missing, _SHOWN)}.",
            fix=f"Run 'berth up -s {source.stack}', which builds missing images.",
        )
    if unknown:
        yield Finding(
            check="images",
            status=Status.FAILED,
            detail=f"The registry gave no answer about {join_first(unknown, _SHOWN)}.",
            fix="Check that this machine reaches it, and whether it needs 'docker login'.",
        )
    if pushed and not missing and not unknown:
        yield Finding(
            check="images",
            status=Status.PASSED,
            detail=f"Images by digest in the registry: {len(pushed)}.",
        )


def check_scans(
    release: Release,
    plan: ImagePlan,
    source: Side,
    target: Side,
    *,
    scan: Callable[[Scan, str], str] = run_scan,
) -> Iterator[Finding]:
    """Check that images that the other stack runs without building them passed its scan.

    The source scanned each image that it built. If the other stack's `images.scan` differs, the
    image is scanned again as that stack requires. What it builds itself, it scans in its update.
    """
    wanted = target.spec.images.scan
    required = wanted.require_scanner or source.spec.images.scan.require_scanner
    needs_again = wanted.model_copy(update={"require_scanner": False}) != (
        source.spec.images.scan.model_copy(update={"require_scanner": False})
    )
    settings = Scan(
        command=wanted.command,
        fail_on=wanted.fail_on,
        ignore_unfixed=wanted.ignore_unfixed,
        required=required,
    )
    scanners: dict[str, list[str]] = {}
    pushed = list_pushed(release)
    for model, version in plan.pins:
        name = f"{model}/{version}"
        report = source.outputs.get("images", {}).get(f"{model}-{version}", {})
        scanner = str(report.get("scanner") or NO_SCANNER)
        if needs_again or (required and scanner == NO_SCANNER):
            try:
                scanner = scan(settings, pushed[model, version])
            except ScanError as error:
                yield Finding(check="scan", status=Status.FAILED, detail=f"{name}: {error}", fix="")
                continue
        scanners.setdefault(scanner, []).append(name)
    for scanner, names in scanners.items():
        if scanner == NO_SCANNER:
            yield Finding(
                check="scan",
                status=Status.WARNING,
                detail=f"No scanner checked {', '.join(names)}.",
                fix="Install trivy or grype, and set images.scan.require_scanner.",
            )
        else:
            yield Finding(
                check="scan",
                status=Status.PASSED,
                detail=f"{scanner} passed {', '.join(names)}.",
            )


def copy_images(plan: ImagePlan, source: Side, target: Side, say: Callable[[str], None]) -> None:
    """Copy the images of a plan that the registry of the other stack lacks.

    Raises:
        OperationError: If a copy fails. Copies that are complete stay and are not made again.
    """
    for each in plan.copies:
        origin = Repository(
            name=split_reference(each.source)[0], plain_http=source.spec.registry.plain_http
        )
        repository = Repository(name=each.repository, plain_http=target.spec.registry.plain_http)
        # Registries of aws stacks keep images whose tag starts with release-.
        tag = f"release-{each.digest.removeprefix('sha256:')[:_TAG_DIGITS]}"
        try:
            is_new = copy_by_digest(origin, repository, each.digest, tag)
        except (RegistryContentError, RuntimeError, OSError) as error:
            raise OperationError(
                f"Could not copy {each.source} to {each.repository}: {error} The configuration "
                "was not changed. Run the same command again; it continues."
            ) from error
        say(f"{'Copied' if is_new else 'Present'}: {each.repository}@{each.digest}")


def describe_image(entry: ReleasedVersion) -> str | None:
    """Return the digest of the image that runs a version, or None if there is none."""
    return split_reference(entry.image)[1] if entry.image and "@" in entry.image else None
