"""How a stack's images are built, on every platform that has images."""

from berth.spec import HostingSpec
from pulumi_berth.images.built_image import ImageSettings, Severity


def build_image_settings(
    spec: HostingSpec, registry: str, *, pull_only: bool = False
) -> ImageSettings:
    """Return the settings with which the stack's images are built.

    Args:
        registry: Registry and path below which the images are pushed.
        pull_only: Use the images that another stack has pushed there.
    """
    return ImageSettings(
        registry=registry,
        plain_http=spec.registry.plain_http,
        architectures=list(spec.images.architectures),
        scan_command=list(spec.images.scan.command),
        fail_on=Severity(spec.images.scan.fail_on),
        ignore_unfixed=spec.images.scan.ignore_unfixed,
        require_scanner=spec.images.scan.require_scanner,
        debian_mirrors=list(spec.images.debian_mirrors),
        pull_only=pull_only or None,
    )
