"""Tools that the specification requires, so that nothing passes because one is missing."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from berth.errors import OperationError
from berth.spec import HostingSpec
from pulumi_berth.images.scan import SCANNERS

POLICY_PROGRAM = "pulumi-analyzer-policy-berth"
"""The program with which the engine runs the policy pack."""
_PACK_FILE = "PulumiPolicy.yaml"


def check_required_tools(
    spec: HostingSpec, environment: Mapping[str, str], pack: Path, *, builds_images: bool
) -> None:
    """Check that the required scanner and the required policy pack can run.

    Args:
        environment: The environment that the engine runs in.
        pack: Directory of the policy pack.
        builds_images: The platform builds images.

    Raises:
        OperationError: If one is missing. Nothing was changed.
    """
    path = environment["PATH"]
    scan = spec.images.scan
    programs = scan.command[:1] or list(SCANNERS)
    if scan.require_scanner and builds_images and not _find_any(programs, path):
        raise OperationError(
            f"images.scan.require_scanner is true, but {_format(programs)} is not on the PATH. "
            "Nothing was changed. Install a scanner, or set images.scan.command."
        )
    if spec.policy.require_policy:
        missing = [] if (pack / _PACK_FILE).is_file() else [str(pack / _PACK_FILE)]
        missing += [] if _find_any([POLICY_PROGRAM], path) else [POLICY_PROGRAM]
        if missing:
            raise OperationError(
                f"policy.require_policy is true, but {_format(missing)} is missing. Nothing was "
                "changed. Reinstall berth."
            )


def _find_any(programs: list[str], path: str) -> bool:
    return any(shutil.which(program, path=path) for program in programs)


def _format(programs: list[str]) -> str:
    return " or ".join(f"'{program}'" for program in programs)
