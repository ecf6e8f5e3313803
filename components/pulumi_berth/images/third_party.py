"""Images, packages and manifests of other projects that stacks use: `third_party.json`.

`python -m tools.third_party_images` compares the digests with the registries and fills them in.
"""

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

_FILE = "third_party.json"
_VERSION = re.compile(r"1\.[0-9]{2}")


@dataclass(frozen=True, kw_only=True)
class Advisory:
    """A vulnerability of an image or package.

    Attributes:
        id: CVE or GHSA number.
        state: `fixed in VERSION` or `open: ...`.
        note: What it is about, or why it does not matter here.
    """

    id: str
    state: str
    note: str


@dataclass(frozen=True, kw_only=True)
class ThirdPartyImage:
    """An image of another project.

    Attributes:
        purpose: What stacks use it for.
        repository: Registry and name.
        tag: Version that is used.
        digest: `sha256:<hex>` of the index. None until somebody with access to the registry runs
            the tool: the tag can then move to another image.
        released: Day of the release, if it is known.
        evidence: Where the digest comes from.
        advisories: Vulnerabilities, by the version that fixes them.
    """

    purpose: str
    repository: str
    tag: str
    digest: str | None
    released: str | None
    evidence: str
    advisories: tuple[Advisory, ...]

    @property
    def reference(self) -> str:
        """The image by tag and, if it is known, by digest."""
        suffix = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}:{self.tag}{suffix}"


@cache
def read_third_party() -> dict[str, Any]:
    """Return the content of the file."""
    content: dict[str, Any] = json.loads((files(__package__) / _FILE).read_text(encoding="utf-8"))
    return content


def read_images() -> dict[str, ThirdPartyImage]:
    """Return the images by name."""
    return {
        name: ThirdPartyImage(
            **{
                **entry,
                "advisories": tuple(Advisory(**advisory) for advisory in entry["advisories"]),
            }
        )
        for name, entry in read_third_party()["images"].items()
    }


def get_image(name: str) -> str:
    """Return the reference of an image, such as `traefik`."""
    return read_images()[name].reference


def get_autoscaler_image(version: str) -> str:
    """Return the cluster autoscaler for a minor version of Kubernetes, such as `1.35`.

    A version that the file does not list yet gets the first release of the same minor version,
    by its tag: the autoscaler must have the minor version of the cluster.
    """
    images = read_images()
    name = f"cluster-autoscaler-{version}"
    if name in images:
        return images[name].reference
    if not _VERSION.fullmatch(version):
        raise ValueError(f"{version!r} is not a minor version of Kubernetes such as 1.35")
    repository = images["cluster-autoscaler-1.35"].repository
    return f"{repository}:v{version}.0"


def get_manifest_url(name: str) -> str:
    """Return the URL of custom resource definitions that a cluster needs."""
    return str(read_third_party()["manifests"][name]["url"])


def read_manifest(name: str) -> str:
    """Return custom resource definitions as YAML. The package contains them.

    Raises:
        ValueError: If the file differs from its SHA-256.
    """
    entry = read_third_party()["manifests"][name]
    path = files("pulumi_berth.kubernetes").joinpath("crds", entry["file"])
    data = gzip.decompress(path.read_bytes())
    actual = hashlib.sha256(data).hexdigest()
    if actual != entry["sha256"]:
        raise ValueError(
            f"{entry['file']} is sha256:{actual}, expected {entry['sha256']}. Reinstall berth."
        )
    return data.decode()


def find_unpinned() -> list[str]:
    """Return the names of the images whose digest is not known yet."""
    return [name for name, image in read_images().items() if image.digest is None]
