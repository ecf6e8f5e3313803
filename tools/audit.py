"""Check the stacks of this repository with Checkov, or an account with Prowler.

    python -m tools.audit checkov dev prod                 what the stacks declare
    python -m tools.audit prowler --services s3 eks …      what the account of AWS_PROFILE contains
    python -m tools.audit prowler --report FILE            what an earlier run of Prowler found

All compare the findings with tools/accepted_findings.yaml, and exit with 1 if one is neither fixed
nor accepted, or if an accepted one no longer occurs. Neither program is a dependency of Berth:
install it into an environment of its own, and put its directory on the PATH.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from berth.operations.declarations import read_declarations
from tools.terraform_plan import build_manifests, build_plan

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED_FILE = Path(__file__).with_name("accepted_findings.yaml")
PROWLER_SERVICES = (
    "acm", "apigateway", "autoscaling", "cloudfront", "cloudwatch", "ec2", "ecr", "eks", "elbv2",
    "iam", "kms", "route53", "s3", "sns", "vpc", "wafv2",
)  # fmt: skip
"""Services of which a stack has resources."""
_CHECKOV_TARGETS = {"terraform_plan": "plan.json", "kubernetes": "manifests.yaml"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A check that a resource does not pass.

    Attributes:
        check: ID of the check, such as `CKV_AWS_18`.
        title: The scanner's title of the check.
        resource: The scanner's name of the resource, for Checkov after the stack's name.
    """

    check: str
    title: str
    resource: str


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A check that the stacks do not pass on purpose.

    Attributes:
        check: ID of the check, or a pattern with `*` for several.
        title: The scanner's title of the check.
        resources: Parts of the names of the resources for which it is accepted; all if empty.
        reason: Why the stacks do not pass it.
        cause: `stack`, `account` if it is a setting that no stack owns, or `emulator` if real AWS
            passes the check.
    """

    check: str
    title: str
    resources: tuple[str, ...]
    reason: str
    cause: str = "stack"

    def covers(self, finding: Finding) -> bool:
        """Return whether the finding is accepted."""
        return fnmatchcase(finding.check, self.check) and (
            not self.resources or any(part in finding.resource for part in self.resources)
        )


def read_accepted(scanner: str) -> list[Accepted]:
    """Return the accepted findings of a scanner, in the order of the file."""
    document = YAML(typ="safe").load(ACCEPTED_FILE)
    return [
        Accepted(
            check=entry["check"],
            title=entry["title"],
            resources=tuple(entry.get("resources", ())),
            reason=entry["reason"],
            cause=entry.get("cause", "stack"),
        )
        for entry in document[scanner]
    ]


def find_differences(findings: Iterable[Finding], accepted: Sequence[Accepted]) -> list[str]:
    """Return a sentence for each finding that is not accepted, and each that no longer occurs.

    Whether a finding about an account occurs depends on the account.
    """
    findings = list(findings)
    unexplained = sorted(
        f"{one.check} {one.resource}: {one.title}"
        for one in findings
        if not any(entry.covers(one) for entry in accepted)
    )
    obsolete = [
        f"{entry.check} is accepted in {ACCEPTED_FILE.name}, but no resource fails it: "
        f"{entry.title}"
        for entry in accepted
        if entry.cause == "stack" and not any(entry.covers(one) for one in findings)
    ]
    return unexplained + obsolete


def run_checkov(stacks: Sequence[str]) -> list[Finding]:
    """Return what Checkov finds in the declarations of the stacks' files.

    Raises:
        SystemExit: If Checkov is not installed, or stops without a report.
    """
    findings: set[Finding] = set()
    for stack in stacks:
        resources = read_declarations(str(ROOT / f"Pulumi.{stack}.yaml"))
        with tempfile.TemporaryDirectory() as directory:
            plan, manifests = (Path(directory) / name for name in _CHECKOV_TARGETS.values())
            plan.write_text(json.dumps(build_plan(resources)))
            with manifests.open("w") as file:
                YAML(typ="safe").dump_all(build_manifests(resources), file)
            for framework, name in _CHECKOV_TARGETS.items():
                options = ["--framework", framework, "--file", name, "--compact", "--quiet"]
                report = _run_scanner(
                    ["checkov", *options, "--skip-download", "--output", "json"], Path(directory)
                )
                findings.update(
                    replace(one, resource=f"{stack}/{one.resource}")
                    for one in read_checkov_report(json.loads(report))
                )
    return sorted(findings, key=lambda one: (one.check, one.resource))


def read_checkov_report(report: Any) -> list[Finding]:
    """Return the failed checks of a report in Checkov's JSON format."""
    parts = report if isinstance(report, list) else [report]
    return [
        Finding(check=one["check_id"], title=one["check_name"], resource=one["resource"])
        for part in parts
        for one in part.get("results", {}).get("failed_checks", [])
    ]


def run_prowler(services: Sequence[str], regions: Sequence[str]) -> list[Finding]:
    """Return what Prowler finds in the account of the current AWS credentials.

    Raises:
        SystemExit: If Prowler is not installed, or stops without a report.
    """
    with tempfile.TemporaryDirectory() as directory:
        options = ["--service", *services, "--region", *regions]
        options += ["--output-formats", "json-ocsf"]
        options += ["--output-directory", directory, "--output-filename", "report"]
        # Prowler exits with 3 if checks failed.
        _run_scanner(["prowler", "aws", *options, "--no-banner"], Path(directory), ok=(0, 3))
        report = Path(directory) / "report.ocsf.json"
        if not report.is_file():
            sys.exit("prowler wrote no report. Run it by itself to see why.")
        return read_prowler_report(json.loads(report.read_text()))


def read_prowler_report(report: Any) -> list[Finding]:
    """Return the failed checks of a report in the Open Cybersecurity Schema Framework."""
    return [
        Finding(
            check=one["metadata"]["event_code"],
            title=one["finding_info"]["title"],
            resource=_name_resource(one["resources"][0]),
        )
        for one in report
        if one["status_code"] == "FAIL"
    ]


def _name_resource(resource: Any) -> str:
    """Return the ID of a resource in a report of Prowler, and its `Name` tag if it has one."""
    names = [label for label in resource.get("labels", ()) if label.startswith("Name:")]
    return " ".join([resource["uid"], *(label.removeprefix("Name:") for label in names)])


def _run_scanner(command: Sequence[str], directory: Path, ok: tuple[int, ...] = (0, 1)) -> str:
    if not shutil.which(command[0]):
        sys.exit(f"{command[0]} is not on the PATH. Install it into an environment of its own.")
    finished = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if finished.returncode not in ok:
        sys.exit(f"{command[0]} failed with {finished.returncode}:\n{finished.stderr[-2000:]}")
    return finished.stdout


_SECTIONS = (
    ("checkov", "stack", "Accepted findings of Checkov"),
    ("prowler", "stack", "Accepted findings of Prowler"),
    ("prowler", "account", "Findings of Prowler about the account"),
    ("prowler", "emulator", "Findings of Prowler that the emulator causes"),
)


def read_runs() -> list[dict[str, str]]:
    """Return when each scanner last ran, on what, and with what result."""
    runs = YAML(typ="safe").load(ACCEPTED_FILE)["runs"]
    return [{key: str(value) for key, value in run.items()} for run in runs]


def build_page() -> str:
    """Return the page about accepted findings."""
    parts = [
        "# Security audit\n",
        "[Checkov](https://www.checkov.io/) checks what dev and prod declare, and",
        "[Prowler](https://docs.prowler.com/) checks the account in which they run. This page",
        "lists the checks that the stacks do not pass on purpose. They pass the scanners' other",
        "checks. Prowler has not run on a real account with these stacks.\n",
        "Generated from `tools/accepted_findings.yaml` with `python -m tools.generate`.\n",
        "| scanner | version | date | checked | result |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(run.values())} |" for run in read_runs()),
        "\n## Run the scanners\n",
        "In a clone, with the scanner of your choice on the `PATH`:\n",
        "```console",
        "$ python -m tools.audit checkov dev prod",
        "$ python -m tools.audit prowler --regions eu-central-1 us-east-1",
        "```\n",
        "A finding that is not accepted, and an accepted one that no longer occurs, end the",
        "command with exit code 1. `--report FILE` compares an earlier report of Prowler, and",
        "`--emulated` accepts what an emulator causes. `tools/terraform_plan.py` translates the",
        "declarations into a Terraform plan for Checkov.\n",
    ]
    for scanner, cause, title in _SECTIONS:
        parts += [f"## {title}\n", "| check | resources | reason |", "|---|---|---|"]
        for entry in read_accepted(scanner):
            if entry.cause == cause:
                resources = ", ".join(f"`{part}`" for part in entry.resources) or "all"
                parts.append(f"| `{entry.check}`: {entry.title} | {resources} | {entry.reason} |")
        parts.append("")
    parts += ["## Related pages\n", "- [Security baseline](security-baseline.md)", ""]
    return "\n".join(parts)


def main() -> None:
    """Compare a scanner's findings with the accepted ones."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit")
    commands = parser.add_subparsers(dest="scanner", required=True)
    checkov = commands.add_parser("checkov")
    checkov.add_argument("stacks", nargs="+")
    prowler = commands.add_parser("prowler")
    prowler.add_argument("--regions", nargs="+", default=[])
    prowler.add_argument("--services", nargs="+", default=PROWLER_SERVICES)
    prowler.add_argument("--report", type=Path, help="a report of Prowler (json-ocsf)")
    prowler.add_argument("--emulated", action="store_true", help="the account is emulated")
    arguments = parser.parse_args()
    accepted = read_accepted(arguments.scanner)
    if arguments.scanner == "checkov":
        findings = run_checkov(arguments.stacks)
    else:
        if not arguments.emulated:
            accepted = [entry for entry in accepted if entry.cause != "emulator"]
        if arguments.report:
            findings = read_prowler_report(json.loads(arguments.report.read_text()))
        elif arguments.regions:
            findings = run_prowler(arguments.services, arguments.regions)
        else:
            sys.exit("Add --regions, such as --regions eu-central-1 us-east-1.")
    differences = find_differences(findings, accepted)
    print(f"{len(findings)} findings, {len(differences)} of them not explained")
    if differences:
        sys.exit("\n".join(differences))


if __name__ == "__main__":
    main()
