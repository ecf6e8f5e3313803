"""Python wheels as files of an image, which needs no installer."""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pulumi_berth.files import acquire_lock, cache_directory
from pulumi_berth.images.packages import DownloadError
from pulumi_berth.oci.tree import EXECUTABLE, PLAIN, Entry, Tree

LIBRARIES = "opt/berth/lib"
"""Directory of the libraries in the image. PYTHONPATH includes it."""
PYTHON_VERSION = "3.11"
_DOWNLOAD_SECONDS = 1800
# Debian 12 has glibc 2.36. The wheels require at most 2.28. pip needs a list of all levels.
_GLIBC = range(28, 16, -1)
PLATFORMS = {
    architecture: (*(f"manylinux_2_{minor}_{cpu}" for minor in _GLIBC), f"manylinux2014_{cpu}")
    for architecture, cpu in (("amd64", "x86_64"), ("arm64", "aarch64"))
}

# Tests, type stubs and converters are 50 MB that never run. libonnxruntime.so is for C programs;
# the Python binding includes its own copy.
_DROPPED = re.compile(
    r".*/tests?/|.*\.pyi$|.*\.(h|c|pyx|pxd|a)$|numpy/(f2py|_pyinstaller|doc|distutils)/"
    r"|onnxruntime/(transformers|quantization|tools|datasets|backend)/"
    r"|onnxruntime_extensions/(onnxprocess|pnp|tools)/"
    r"|onnxruntime/capi/libonnxruntime\.so|[^/]+\.data/scripts/|.*/__pycache__/"
    r"|[^/]+\.dist-info/(RECORD|WHEEL|INSTALLER|entry_points\.txt)$"
)


@dataclass(frozen=True, kw_only=True)
class LockedWheel:
    """One wheel: the name of its file, and its SHA-256 in hex."""

    name: str
    version: str
    file: str
    sha256: str


def read_wheel_lock(path: Path, runtime: str, architecture: str) -> list[LockedWheel]:
    """Return the locked wheels of a runtime: see `base_image.Runtime`."""
    content = json.loads(path.read_text())
    return [LockedWheel(**entry) for entry in content[runtime][architecture]]


def fetch_wheels(wheels: list[LockedWheel], architecture: str) -> list[Path]:
    """Return the wheel files from the cache, or download them with pip.

    pip's configuration, such as PIP_INDEX_URL, applies.

    Raises:
        DownloadError: If pip cannot download all wheels with the locked content.
    """
    directory = cache_directory("images", "wheels")
    # If two images need the same wheels, one downloads them and the other waits.
    with acquire_lock(directory / ".lock"):
        missing = [wheel for wheel in wheels if not (directory / wheel.file).exists()]
        if missing:
            with tempfile.TemporaryDirectory(dir=directory) as temporary:
                _download(missing, architecture, Path(temporary))
                for wheel in missing:
                    Path(temporary, wheel.file).replace(directory / wheel.file)
    return [directory / wheel.file for wheel in wheels]


def _download(wheels: list[LockedWheel], architecture: str, directory: Path) -> None:
    requirements = directory / "requirements.txt"
    requirements.write_text(
        "\n".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in wheels)
    )
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={PYTHON_VERSION}", f"--dest={directory}",
        f"--requirement={requirements}",
        *(f"--platform={platform}" for platform in PLATFORMS[architecture]),
    ]  # fmt: skip
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"pip did not download the wheels of the image within {_DOWNLOAD_SECONDS} s. Check "
            "the network and pip's configuration."
        ) from error
    if result.returncode:
        raise DownloadError(
            "pip could not download the wheels of the image. Check the network and pip's "
            f"configuration.\n{result.stderr.strip()}"
        )


def libraries_tree(wheels: list[Path]) -> Tree:
    """Return the files of the wheels that an image needs."""
    tree: Tree = {}
    for path in wheels:
        archive = zipfile.ZipFile(path)
        for info in archive.infolist():
            if info.is_dir() or _DROPPED.match(info.filename):
                continue
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", info.filename)
            mode = EXECUTABLE if name.endswith(".so") or ".so." in name else PLAIN
            tree[f"{LIBRARIES}/{name}"] = Entry(mode=mode, read=_reader(archive, info))
    return tree


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    return lambda: archive.read(info)
