"""Container images: how Berth builds and checks them, and the registry that stores them."""

from typing import Annotated, Literal

from pydantic import Field

from berth.spec.fields import Account, KubernetesName, Region, RoleName, Section, StackName, Text

Architecture = Literal["amd64", "arm64"]

Mirror = Annotated[
    str,
    Text(
        r"https?:\/\/[A-Za-z0-9][A-Za-z0-9.:\/_-]{0,500}",
        "the http:// or https:// URL of the directory that contains debian/ and debian-security/",
    ),
]
ImageByDigest = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(\/[a-z0-9._-]+)+(:[A-Za-z0-9._-]{1,128})?"
        r"@sha256:[0-9a-f]{64}",
        "an image by digest: registry/name@sha256: and 64 hexadecimal digits",
    ),
]
RegistryUrl = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(\/[a-z0-9._-]+)*",
        "a registry without a scheme, such as registry.example.com/berth",
    ),
]


class ScanSpec(Section):
    """The vulnerability scan that an image must pass before deployment."""

    command: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default=[], max_length=50
    )
    """Scanner command and arguments; `{image}` is replaced by the image, or without a registry by
    the path of an archive as `docker save` writes it. Defaults to the installed scanner, which the
    result names."""
    fail_on: Literal["low", "medium", "high", "critical", "never"] = "high"
    """Minimum severity of a finding that stops the deployment."""
    ignore_unfixed: bool = False
    """If true, a finding without a fix does not stop the deployment."""
    require_scanner: bool = False
    """If true, `up` and `preview` stop before they change anything if no scanner is installed, and
    no image passes without a scan."""


class ImageSpec(Section):
    """Settings for building and checking serving images."""

    base: ImageByDigest | None = None
    """Base image for `compute: cpu`. Defaults to the image that Berth builds."""
    base_gpu: ImageByDigest | None = None
    """Base image for `compute: gpu`. Defaults to the image that Berth builds."""
    debian_mirrors: list[Mirror] = Field(default=[], max_length=10)
    """Mirrors for the Debian packages of the base image. Defaults to Debian's servers. Berth checks
    every package against a pinned SHA-256."""
    architectures: list[Architecture] = Field(default=["amd64"], min_length=1, max_length=2)
    """CPU architectures that Berth builds images for."""
    scan: ScanSpec = Field(default_factory=ScanSpec)
    """Vulnerability scan that an image must pass before deployment."""


class RegistryReplicaSpec(Section):
    """A Region or account that receives a copy of every pushed image."""

    region: Region
    """Region of the replica."""
    account: Account | None = None
    """Account of the replica. Defaults to the stack's own account."""


class RegistryReaderSpec(Section):
    """An account whose stacks pull images from this registry. Only their node roles may pull."""

    account: Account
    """Account ID."""
    roles: list[RoleName] = Field(default=[], max_length=20)
    """Additional roles of that account that may pull, such as the role that runs `up`, which checks
    that images exist."""


class RegistrySpec(Section):
    """The image registry: any registry for your own cluster, Amazon ECR on AWS."""

    url: RegistryUrl | None = None
    """Registry and path to push to. Required on platform kubernetes. On docker, Berth loads images
    into the engine by default. On aws, Berth uses the stack's
    ECR registry and rejects this key."""
    plain_http: bool = False
    """kubernetes, docker: If true, the registry has no TLS, as on a laptop."""
    pull_secret: KubernetesName | None = None
    """kubernetes: Secret (kubernetes.io/dockerconfigjson) in the namespace that Pods use to pull
    images. Omit it if the nodes can pull images without a Secret."""
    source_stack: StackName | None = None
    """aws: Stack whose registry this stack pulls from, so that both run the same digests. Defaults
    to the stack's own registry."""
    source_account: Account | None = None
    """aws: Account of `source_stack`. Defaults to this stack's account."""
    readers: list[RegistryReaderSpec] = Field(default=[], max_length=20)
    """aws: Other accounts whose stacks pull from this stack's registry."""
    replicate_to: list[RegistryReplicaSpec] = Field(default=[], max_length=25)
    """aws: Regions and accounts that receive a copy of every image."""
    keep_images: int = Field(default=50, ge=5, le=1000)
    """aws: Number of images to keep per model, among those that no stack was configured to run. All
    other images stay, so that a stack can roll back to any of its releases."""
    keep_untagged_days: int = Field(default=14, ge=1, le=3650)
    """aws: Days until an untagged image is deleted."""
