"""Write the lock files of the images: the latest Debian packages and the wheels to install.

Run as `python -m tools.lock_images`, and then run the tests of the images.
"""

import json
import lzma
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from debian.deb822 import Packages
from debian.debian_support import Version

from pulumi_berth.images.packages import MIRROR
from pulumi_berth.images.wheels import PLATFORMS, PYTHON_VERSION

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
# Python and its dependencies. No package contains a shell, an installer or set-uid programs.
PACKAGES = (
    "base-files",
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "netbase",
    "python3.11-minimal",
    "tzdata",
    "zlib1g",
)
# The Valkey server and its libraries that the base does not have. Debian 12 has it in backports.
VALKEY_PACKAGES = (
    "libatomic1",
    "libcap2",
    "libgcrypt20",
    "libgpg-error0",
    "libjemalloc2",
    "liblz4-1",
    "liblzf1",
    "libsystemd0",
    "libzstd1",
    "valkey-server",
    "valkey-tools",
)
# The latest version on PyPI is one version behind the CPU package in requirements.txt.
_ONNXRUNTIME_GPU = "1.31.1"
_INDEXES = (
    ("debian", SUITE),
    ("debian", f"{SUITE}-updates"),
    ("debian-security", f"{SUITE}-security"),
)
_BACKPORTS = ("debian", f"{SUITE}-backports")

_SERVER = ["uvicorn", "uvloop", "httptools", "msgspec", "orjson", "prometheus_client"]
_SERVING = [
    *_SERVER,
    "numpy",
    "PyYAML",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
]
# Each runtime has packages with their requirements, and packages without them: onnxruntime requires
# what its converters need, which the image omits.
RUNTIMES: dict[str, tuple[list[str], list[str]]] = {
    "serving-cpu": (_SERVING, ["onnxruntime", "onnxruntime-extensions"]),
    # Its extras contain the NVIDIA libraries that it was built for.
    "serving-cuda": (
        [*_SERVING, f"onnxruntime-gpu[cuda,cudnn]=={_ONNXRUNTIME_GPU}"],
        ["onnxruntime-extensions"],
    ),
    # Python before 3.11.3 needs async-timeout, and Debian 12 has 3.11.2. pip assumes the latest.
    "gateway": ([*_SERVER, "aiohttp", "valkey", "libvalkey", "async-timeout", "PyJWT[crypto]"], []),
}
# There are no CUDA wheels of onnxruntime for arm64.
_ONLY_AMD64 = ("serving-cuda",)

_TIMEOUT_SECONDS = 120


def lock_debian(packages: Sequence[str], indexes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the latest version of each package for each architecture."""
    return {
        "suite": SUITE,
        "snapshot": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "packages": {
            architecture: _find_latest(architecture, packages, indexes)
            for architecture in PLATFORMS
        },
    }


def _find_latest(
    architecture: str, packages: Sequence[str], indexes: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    latest: dict[str, dict[str, Any]] = {}
    for archive, suite in indexes:
        url = f"{MIRROR}/{archive}/dists/{suite}/main/binary-{architecture}/Packages.xz"
        response = httpx.get(url, timeout=_TIMEOUT_SECONDS, follow_redirects=True)
        index = lzma.decompress(response.raise_for_status().content)
        for package in Packages.iter_paragraphs(index, use_apt_pkg=False):
            name = package["Package"]
            if name not in packages:
                continue
            if suite.endswith("-backports") and name in latest:
                continue  # Debian's security team supports the other version.
            if name in latest and Version(package["Version"]) <= Version(latest[name]["version"]):
                continue
            latest[name] = {
                "name": name,
                "version": package["Version"],
                "archive": archive,
                "path": package["Filename"],
                "size": int(package["Size"]),
                "sha256": package["SHA256"],
            }
    return [latest[name] for name in sorted(packages)]


def lock_wheels() -> dict[str, dict[str, list[dict[str, str]]]]:
    """Return the wheels of each runtime for each architecture, as pip resolves them."""
    return {
        runtime: {
            architecture: _resolve(packages, architecture)
            + _resolve(without_requirements, architecture, "--no-deps")
            for architecture in PLATFORMS
            if architecture == "amd64" or runtime not in _ONLY_AMD64
        }
        for runtime, (packages, without_requirements) in RUNTIMES.items()
    }


def _resolve(names: list[str], architecture: str, *options: str) -> list[dict[str, str]]:
    if not names:
        return []
    pins = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if not line.startswith(("#", "-"))
    ]
    with tempfile.TemporaryDirectory() as directory:
        constraints, report = Path(directory, "constraints.txt"), Path(directory, "report.json")
        constraints.write_text("\n".join(pins))
        subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", *options,
                "--ignore-installed", "--only-binary=:all:", "--implementation=cp",
                f"--python-version={PYTHON_VERSION}", f"--target={directory}",
                f"--report={report}", f"--constraint={constraints}", *names,
                *(f"--platform={platform}" for platform in PLATFORMS[architecture]),
            ],
            check=True,
        )  # fmt: skip
        installed = json.loads(report.read_text())["install"]
    wheels = [
        {
            "name": entry["metadata"]["name"],
            "version": entry["metadata"]["version"],
            "file": entry["download_info"]["url"].rsplit("/", 1)[-1],
            "sha256": entry["download_info"]["archive_info"]["hashes"]["sha256"],
        }
        for entry in installed
    ]
    return sorted(wheels, key=lambda wheel: wheel["name"].lower())


def main() -> int:
    """Write all lock files."""
    locks = {
        "base": lock_debian(PACKAGES, _INDEXES),
        "valkey": lock_debian(VALKEY_PACKAGES, [*_INDEXES, _BACKPORTS]),
        "wheels": lock_wheels(),
    }
    for name, content in locks.items():
        path = ROOT / "components/pulumi_berth/images" / f"{name}.lock.json"
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
