"""`berth images`: what is inside the images of a stack, for whoever must answer for them."""

from typing import Any

_MIB = 2**20


def reports(outputs: dict[str, Any]) -> dict[str, Any]:
    """Image -> scanner, and per architecture what pulumi_berth.images.report.Report tells."""
    found: dict[str, Any] = outputs.get("images", {})
    return found


def as_text(found: dict[str, Any]) -> str:
    """The reports for a person."""
    lines = [
        f"{'IMAGE':<24} {'ARCH':<6} {'PUSHED':>9} {'UNPACKED':>9} {'PACKAGES':>14} {'SET-ID':>6} "
        f"{'SHELLS':>6} {'USER':<12} SCANNER"
    ]
    for image, report in found.items():
        for architecture, inside in report.items():
            if architecture == "scanner":
                continue
            packages = " + ".join(
                f"{int(count)} {kind}" for kind, count in inside["packages"].items()
            )
            lines.append(
                f"{image:<24} {architecture:<6} {inside['compressed'] / _MIB:>5.1f} MiB "
                f"{inside['unpacked'] / _MIB:>5.1f} MiB {packages:>14} {len(inside['set_id']):>6} "
                f"{len(inside['shells']):>6} {inside['user']:<12} {report['scanner']}"
            )
    return "\n".join(lines)
