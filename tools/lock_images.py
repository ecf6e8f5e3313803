"""Write the lock files of the images: the newest Debian packages and the wheels to install.

Run as `python -m tools.lock_images`; the tests of the images then say whether the result works.
"""

import json
import lzma
import subprocess
import sys
import tempfile
import urllib.request
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from typing import Any

from pulumi_berth.images.packages import MIRROR
from pulumi_berth.images.wheels import PLATFORMS, PYTHON_VERSION

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
# What Python needs to run, and nothing to start a shell, install a package or gain a right.
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
# The newest on PyPI, one behind the CPU package of requirements.txt.
_ONNXRUNTIME_GPU = "1.31.1"
_LISTS = (
    ("debian", SUITE),
    ("debian", f"{SUITE}-updates"),
    ("debian-security", f"{SUITE}-security"),
)

_SERVER = ["uvicorn", "uvloop", "httptools", "msgspec", "orjson", "prometheus_client"]
_SERVING = [
    *_SERVER,
    "numpy",
    "PyYAML",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
]
# What a runtime has; of the second list the requirements are left out: onnxruntime names what
# its converters need, which are not in the image.
RUNTIMES: dict[str, tuple[list[str], list[str]]] = {
    "serving-cpu": (_SERVING, ["onnxruntime"]),
    # Its extras name the NVIDIA libraries that it was built for.
    "serving-cuda": ([*_SERVING, f"onnxruntime-gpu[cuda,cudnn]=={_ONNXRUNTIME_GPU}"], []),
    "gateway": ([*_SERVER, "aiohttp"], []),
}
# There are no CUDA wheels of onnxruntime for arm64.
_ONLY_AMD64 = ("serving-cuda",)


def lock_debian() -> dict[str, Any]:
    """The newest version of each package, for each architecture."""
    return {
        "suite": SUITE,
        "snapshot": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "packages": {arch: _newest(arch) for arch in PLATFORMS},
    }


def _newest(architecture: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    # Later lists have the newer versions of what is in several.
    for archive, suite in _LISTS:
        url = f"{MIRROR}/{archive}/dists/{suite}/main/binary-{architecture}/Packages.xz"
        with urllib.request.urlopen(url, timeout=120) as response:  # noqa: S310
            text = lzma.decompress(response.read()).decode()
        for paragraph in text.split("\n\n"):
            name = paragraph.partition("\n")[0].removeprefix("Package: ")
            if name not in PACKAGES:
                continue
            fields = Parser().parsestr(paragraph)
            if name in found and not _is_newer(fields["Version"], found[name]["version"]):
                continue
            found[name] = {
                "name": name,
                "version": fields["Version"],
                "archive": archive,
                "path": fields["Filename"],
                "size": int(fields["Size"]),
                "sha256": fields["SHA256"],
            }
    return [found[name] for name in sorted(PACKAGES)]


def _is_newer(version: str, than: str) -> bool:
    compared = subprocess.run(["dpkg", "--compare-versions", version, "gt", than], check=False)
    return compared.returncode == 0


def lock_wheels() -> dict[str, dict[str, list[dict[str, str]]]]:
    """The wheels of each runtime, for each architecture, as pip resolves them."""
    return {
        runtime: {
            architecture: _wheels(complete, architecture)
            + _wheels(alone, architecture, "--no-deps")
            for architecture in PLATFORMS
            if architecture == "amd64" or runtime not in _ONLY_AMD64
        }
        for runtime, (complete, alone) in RUNTIMES.items()
    }


def _wheels(names: list[str], architecture: str, *options: str) -> list[dict[str, str]]:
    if not names:
        return []
    pins = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if not line.startswith(("#", "-"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        constraints.write_text("\n".join(pins))
        subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", *options,
                "--ignore-installed", "--only-binary=:all:", "--implementation=cp",
                f"--python-version={PYTHON_VERSION}", f"--target={folder}", f"--report={report}",
                f"--constraint={constraints}", *names,
                *(f"--platform={platform}" for platform in PLATFORMS[architecture]),
            ],
            check=True,
        )  # fmt: skip
        installed = json.loads(report.read_text())["install"]
    found = [
        {
            "name": entry["metadata"]["name"],
            "version": entry["metadata"]["version"],
            "file": entry["download_info"]["url"].rsplit("/", 1)[-1],
            "sha256": entry["download_info"]["archive_info"]["hashes"]["sha256"],
        }
        for entry in installed
    ]
    return sorted(found, key=lambda wheel: wheel["name"].lower())


def main() -> int:
    """Write every lock."""
    for name, content in (("base", lock_debian()), ("wheels", lock_wheels())):
        path = ROOT / "components/pulumi_berth/images" / f"{name}.lock.json"
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
