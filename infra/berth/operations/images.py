"""`berth images`: the content of a stack's images, for audits."""

from typing import Any

_MIB = 2**20


def format_reports(reports: dict[str, Any]) -> str:
    """Return the reports of a stack's images as text.

    Args:
        reports: Image to its scanner and, per architecture, a `pulumi_berth.images.report.Report`.
    """
    lines = [
        f"{'IMAGE':<24} {'ARCH':<6} {'PUSHED':>9} {'UNPACKED':>9} {'PACKAGES':>14} {'SET-ID':>6} "
        f"{'SHELLS':>6} {'USER':<12} SCANNER"
    ]
    for image, report in reports.items():
        for architecture, content in report.items():
            if architecture == "scanner":
                continue
            packages = " + ".join(
                f"{int(count)} {kind}" for kind, count in content["packages"].items()
            )
            lines.append(
                f"{image:<24} {architecture:<6} {content['compressed'] / _MIB:>5.1f} MiB "
                f"{content['unpacked'] / _MIB:>5.1f} MiB {packages:>14} "
                f"{len(content['set_id']):>6} {len(content['shells']):>6} "
                f"{content['user']:<12} {report['scanner']}"
            )
    return "\n".join(lines)
