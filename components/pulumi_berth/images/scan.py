"""The vulnerability scan of an image."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

SCANNERS = ("trivy", "grype")
"""Programs that are used without a configured command, in this order."""
NO_SCANNER = "none installed"
"""The name of the scanner in the result if no scanner is installed."""

_TIMEOUT_SECONDS = 900
_SEVERITIES = ("low", "medium", "high", "critical")
_SHOWN_CHARACTERS = 2000
# Exit statuses with which a shell reports that a program is missing or cannot run (POSIX, 2.8.2).
_NOT_RUN = (126, 127)


class ScanError(RuntimeError):
    """A scanner rejected an image or could not run. The message ends with its output."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The requirements of the scan.

    Attributes:
        command: Scanner and arguments; `{image}` represents the image. If empty, an installed
            scanner.
        fail_on: Lowest severity that rejects an image, or `never`.
        ignore_unfixed: True to ignore findings without a fix.
        required: True to reject an image that cannot be scanned because no scanner is installed.
    """

    command: Sequence[str]
    fail_on: str
    ignore_unfixed: bool
    required: bool = False


def run_scan(scan: Scan, image: str, *, is_archive: bool = False) -> str:
    """Scan `image` and return the name of the scanner.

    Args:
        image: `registry/name@sha256:...`, or the path of an archive.
        is_archive: Whether `image` is the path of an archive as `docker save` writes it.

    The exit status of a configured command decides whether the image passes.

    Raises:
        ScanError: If the scanner rejects the image or cannot run.
    """
    command = [part.replace("{image}", image) for part in scan.command]
    command = command or find_scanner(scan, image, is_archive=is_archive)
    if not command:
        if scan.required:
            raise ScanError(
                f"No scanner is installed to check {image}, and one is required. Install "
                f"{' or '.join(SCANNERS)}, or set images.scan.command."
            )
        return NO_SCANNER
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScanError(
            f"Could not run the scanner: {error}. Set images.scan.command to a working scanner."
        ) from error
    output = (result.stdout + result.stderr).strip()[-_SHOWN_CHARACTERS:]
    # Without a severity that fails, an installed scanner exits with another status only on errors.
    has_failed = scan.fail_on == "never" and not scan.command and result.returncode
    if has_failed or result.returncode in _NOT_RUN:
        raise ScanError(
            f"Could not run the scanner: {command[0]} exited with status {result.returncode}. Set "
            f"images.scan.command to a working scanner.\n{output}"
        )
    if result.returncode and scan.fail_on != "never":
        raise ScanError(
            f"{command[0]} rejected {image} (exit status {result.returncode}). Fix the findings "
            f"below, or change images.scan.\n{output}"
        )
    return command[0]


def needs_scan(scan: Scan) -> bool:
    """Return whether a scanner is configured, installed or required."""
    return bool(scan.command or scan.required or find_scanner(scan, ""))


def find_scanner(scan: Scan, image: str, *, is_archive: bool = False) -> list[str]:
    """Return the command of an installed scanner, or an empty list if none is installed."""
    never = scan.fail_on == "never"
    if shutil.which("trivy"):
        levels = _SEVERITIES[0 if never else _SEVERITIES.index(scan.fail_on) :]
        return [
            "trivy",
            "image",
            "--quiet",
            f"--exit-code={0 if never else 1}",
            f"--severity={','.join(levels).upper()}",
            *(["--ignore-unfixed"] if scan.ignore_unfixed else []),
            *(["--input"] if is_archive else []),
            image,
        ]
    if shutil.which("grype"):
        return [
            "grype",
            f"{'docker-archive' if is_archive else 'registry'}:{image}",
            "--quiet",
            *([] if never else [f"--fail-on={scan.fail_on}"]),
            *(["--only-fixed"] if scan.ignore_unfixed else []),
        ]
    return []
