"""Container images: what they are built on, and the gate that they pass."""

from typing import Annotated, Literal

from pydantic import Field

from berth.spec.section import Section
from berth.spec.text import Text

Architecture = Literal["amd64", "arm64"]

Mirror = Annotated[
    str,
    Text(
        r"https?:\/\/[A-Za-z0-9][A-Za-z0-9.:\/_-]{0,500}",
        "http:// or https:// and the folder above debian/ and debian-security/",
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


class ScanSpec(Section):
    """The scan that an image passes before it is deployed."""

    command: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default=[], max_length=50
    )
    """The scanner and its arguments, `{image}` standing for the image; when empty, the scanner
    that is at hand, which the result names."""
    fail_on: Literal["low", "medium", "high", "critical", "never"] = "high"
    """The lowest severity of a finding that stops the deployment."""
    ignore_unfixed: bool = False
    """Whether findings for which there is no fix are only recorded."""


class ImageSpec(Section):
    """How serving images are made."""

    base: ImageByDigest | None = None
    """Base image for `compute: cpu`; when omitted, the one that the project's recipe builds."""
    base_gpu: ImageByDigest | None = None
    """Base image for `compute: gpu`; when omitted, the one that the project's recipe builds."""
    debian_mirrors: list[Mirror] = Field(default=[], max_length=10)
    """Where the project's recipe has Debian packages from; Debian's own servers when empty. Every
    package is held against the sha256 in `images/base.lock.json`."""
    architectures: list[Architecture] = Field(default=["amd64"], min_length=1, max_length=2)
    """The processors that images are built for."""
    sbom: Literal["spdx", "cyclonedx"] = "spdx"
    """The format of the list of what is in an image."""
    scan: ScanSpec = ScanSpec()
    """The scan that an image passes before it is deployed."""
