"""Kubernetes versions of EKS, and the add-ons that go with each: `eks_versions.json`.

The file states the day on which it was recorded, and the source of each column. A cluster, its
add-ons, its nodes and its autoscaler have versions that go together, so one table holds them.
"""

import json
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

# Nodes do not become ready without these add-ons. They run on every node and wait for none.
BEFORE_NODES = ("eks-pod-identity-agent", "vpc-cni", "kube-proxy")
# Add-ons of ordinary Pods, which need a node.
AFTER_NODES = ("coredns", "metrics-server", "amazon-cloudwatch-observability")
_FILE = "eks_versions.json"


@dataclass(frozen=True, kw_only=True)
class EksVersion:
    """A Kubernetes version of EKS.

    Attributes:
        version: Minor version, such as `1.35`.
        released: Day of the release on EKS.
        standard_support_ends: First day after standard support. Then EKS upgrades the cluster, or
            charges extended support, depending on the cluster's upgrade policy.
        extended_support_ends: First day after extended support. Then EKS upgrades the cluster.
        addons: Version of each EKS add-on that Berth installs.
    """

    version: str
    released: date
    standard_support_ends: date
    extended_support_ends: date
    addons: dict[str, str]


@cache
def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files(__package__) / _FILE).read_text(encoding="utf-8"))
    return content


def read_recorded() -> date:
    """Return the day on which the table was recorded."""
    return date.fromisoformat(_read()["recorded"])


@cache
def read_versions() -> dict[str, EksVersion]:
    """Return the known versions by minor version, oldest first."""
    return {
        version: EksVersion(
            version=version,
            released=date.fromisoformat(entry["released"]),
            standard_support_ends=date.fromisoformat(entry["standard_support_ends"]),
            extended_support_ends=date.fromisoformat(entry["extended_support_ends"]),
            addons=entry["addons"],
        )
        for version, entry in _read()["versions"].items()
    }


def read_system_disks() -> dict[str, int]:
    """Return the size of the operating system's image by AMI type, in GiB.

    EC2 refuses a disk that is smaller than the image.
    """
    return {name: entry["system_gib"] for name, entry in _read()["ami_types"].items()}


def get_addon_versions(version: str) -> dict[str, str]:
    """Return the add-on versions for a Kubernetes version, or none if it is unknown."""
    known = read_versions().get(version)
    return {} if known is None else dict(known.addons)
