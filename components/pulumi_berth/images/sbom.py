"""SBOM: the list of what is in an image, as SPDX 2.3 or CycloneDX 1.6 JSON."""

import json
import uuid
from typing import Any, Literal
from urllib.parse import quote

from pulumi_berth.images.contents import InPackage
from pulumi_berth.oci.oci import CREATED

Format = Literal["spdx", "cyclonedx"]

MEDIA_TYPES: dict[Format, str] = {
    "spdx": "application/spdx+json",
    "cyclonedx": "application/vnd.cyclonedx+json",
}


def sbom(form: Format, image: str, packages: list[InPackage]) -> bytes:
    """The document for `image` (`registry/name@sha256:...`); the same packages give the same
    bytes."""
    ordered = sorted(packages, key=lambda package: (package.kind, package.name))
    content = _spdx(image, ordered) if form == "spdx" else _cyclonedx(image, ordered)
    return json.dumps(content, indent=1).encode()


def package_url(package: InPackage) -> str:
    """https://github.com/package-url/purl-spec"""
    if package.kind == "deb":
        kind, name = "deb/debian", package.name
    else:
        kind, name = "pypi", package.name.lower().replace("_", "-").replace(".", "-")
    return f"pkg:{kind}/{quote(name, safe='')}@{quote(package.version, safe='')}"


def _identity(image: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"oci://{image}")


def _spdx(image: str, packages: list[InPackage]) -> dict[str, Any]:
    found = [(f"SPDXRef-package-{number}", package) for number, package in enumerate(packages, 1)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image,
        "documentNamespace": f"urn:uuid:{_identity(image)}",
        "creationInfo": {"created": CREATED, "creators": ["Tool: berth"]},
        "packages": [
            {
                "SPDXID": "SPDXRef-image",
                "name": image,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "primaryPackagePurpose": "CONTAINER",
            },
            *(
                {
                    "SPDXID": reference,
                    "name": package.name,
                    "versionInfo": package.version,
                    "downloadLocation": "NOASSERTION",
                    "filesAnalyzed": False,
                    # What a package says of its licence need not be an SPDX expression.
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
                for reference, package in found
            ),
        ],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": "SPDXRef-image",
            },
            *(
                {
                    "spdxElementId": "SPDXRef-image",
                    "relationshipType": "CONTAINS",
                    "relatedSpdxElement": reference,
                }
                for reference, _ in found
            ),
        ],
    }


def _cyclonedx(image: str, packages: list[InPackage]) -> dict[str, Any]:
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_identity(image)}",
        "version": 1,
        "metadata": {
            "timestamp": CREATED,
            "tools": {"components": [{"type": "application", "name": "berth"}]},
            "component": {"type": "container", "name": image, "bom-ref": "image"},
        },
        "components": [
            {
                "type": "library",
                "bom-ref": package_url(package),
                "name": package.name,
                "version": package.version,
                "purl": package_url(package),
            }
            for package in packages
        ],
    }
