"""Scan: the command that looks for known faults in an image, and what it said."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

NONE_AT_HAND = "none at hand"
_SECONDS = 900
_SEVERITIES = ("low", "medium", "high", "critical")
_SHOWN_CHARACTERS = 2000


class ScanError(RuntimeError):
    """An image that the scan holds back; the text ends with what the scanner said."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What is asked of an image.

    Attributes:
        command: the scanner with `{image}` for the image; empty for what is at hand.
        fail_on: the lowest severity that holds an image back, or `never`.
        ignore_unfixed: whether findings without a fix count.
    """

    command: Sequence[str]
    fail_on: str
    ignore_unfixed: bool


def run_scan(scan: Scan, image: str) -> str:
    """Scan `image` (`registry/name@sha256:...`); the result names the scanner.

    A command of the specification says by its exit status whether the image passes.

    Raises:
        ScanError: the image is held back, or the scanner cannot be run.
    """
    command = [part.replace("{image}", image) for part in scan.command] or at_hand(scan, image)
    if not command:
        return NONE_AT_HAND
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScanError(
            f"the scanner cannot be run: {error}; set images.scan.command to one that can"
        ) from error
    if done.returncode and scan.fail_on != "never":
        said = (done.stdout + done.stderr).strip()[-_SHOWN_CHARACTERS:]
        raise ScanError(
            f"{command[0]} holds {image} back (exit status {done.returncode}); mend what it names, "
            f"or see images.scan in the specification. It said:\n{said}"
        )
    return command[0]


def at_hand(scan: Scan, image: str) -> list[str]:
    """The command of a scanner that is installed; empty when there is none."""
    never = scan.fail_on == "never"
    if shutil.which("trivy"):
        levels = _SEVERITIES[0 if never else _SEVERITIES.index(scan.fail_on) :]
        return [
            "trivy", "image", "--quiet", f"--exit-code={0 if never else 1}",
            f"--severity={','.join(levels).upper()}",
            *(["--ignore-unfixed"] if scan.ignore_unfixed else []), image,
        ]  # fmt: skip
    if shutil.which("grype"):
        return [
            "grype", f"registry:{image}", "--quiet",
            *([] if never else [f"--fail-on={scan.fail_on}"]),
            *(["--only-fixed"] if scan.ignore_unfixed else []),
        ]  # fmt: skip
    return []
