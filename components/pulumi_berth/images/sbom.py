"""Software bills of materials: the packages in an image as SPDX 2.3 JSON."""

import json
import uuid
from typing import Any
from urllib.parse import quote

from pulumi_berth.images.contents import ImagePackage
from pulumi_berth.oci.documents import CREATED

MEDIA_TYPE = "application/spdx+json"


def build_sbom(image: str, packages: list[ImagePackage]) -> bytes:
    """Build the SBOM of `image` (`registry/name@sha256:...`).

    The order of `packages` does not change the result.
    """
    ordered = sorted(packages, key=lambda package: (package.kind, package.name))
    entries = {
        f"SPDXRef-package-{number}": package for number, package in enumerate(ordered, start=1)
    }
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image,
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'oci://{image}')}",
        "creationInfo": {"created": CREATED, "creators": ["Tool: berth"]},
        "packages": [
            {
                "SPDXID": "SPDXRef-image",
                "name": image,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "primaryPackagePurpose": "CONTAINER",
            },
            *(_package(reference, package) for reference, package in entries.items()),
        ],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"),
            *(_relationship("SPDXRef-image", "CONTAINS", reference) for reference in entries),
        ],
    }
    return json.dumps(document, indent=1).encode()


def package_url(package: ImagePackage) -> str:
    """Return the package URL: https://github.com/package-url/purl-spec."""
    if package.kind == "deb":
        kind, name = "deb/debian", package.name
    else:
        kind, name = "pypi", package.name.lower().replace("_", "-").replace(".", "-")
    return f"pkg:{kind}/{quote(name, safe='')}@{quote(package.version, safe='')}"


def _package(reference: str, package: ImagePackage) -> dict[str, Any]:
    return {
        "SPDXID": reference,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        # The license in a package's metadata need not be an SPDX expression.
        "licenseConcluded": "NOASSERTION",
        "licenseComments": package.license or "none stated",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package_url(package),
            }
        ],
    }


def _relationship(element: str, kind: str, related: str) -> dict[str, str]:
    return {
        "spdxElementId": element,
        "relationshipType": kind,
        "relatedSpdxElement": related,
    }
