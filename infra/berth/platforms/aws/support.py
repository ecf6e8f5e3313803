"""The support dates of a cluster's Kubernetes version, and the versions that go with it."""

from collections.abc import Iterator
from datetime import date, timedelta

from berth.platforms.aws.tables import read_table
from berth.spec.cluster import ClusterSpec
from berth.spec.errors import SpecError
from pulumi_berth.aws.eks_versions import (
    AFTER_NODES,
    BEFORE_NODES,
    EksVersion,
    get_addon_versions,
    read_versions,
)

_CALENDAR = "https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html"
# AWS announces an end of support at least 60 days ahead (_CALENDAR).
WARNING_DAYS = 60
_KEY = "berth:cluster.version"


def resolve_addon_versions(cluster: ClusterSpec) -> dict[str, str]:
    """Return the version of each add-on: the specification's own, or the table's."""
    own = {str(addon): version for addon, version in cluster.addons.items()}
    return {**get_addon_versions(cluster.version), **own}


def find_unpinned_parts(cluster: ClusterSpec) -> list[str]:
    """Return the keys without which a cluster of this version has parts of unknown version."""
    if cluster.version in read_versions():
        return []
    pinned = {str(addon) for addon in cluster.addons}
    addons = [name for name in (*BEFORE_NODES, *AFTER_NODES) if name not in pinned]
    image = [] if cluster.autoscaler_image else ["cluster.autoscaler_image"]
    return [f"cluster.addons.{name}" for name in addons] + image


def require_supported(cluster: ClusterSpec, today: date) -> None:
    """Check that EKS still runs the cluster's version as the specification requests it.

    A version that the table does not list is accepted.

    Raises:
        SpecError: If the version has left the support that the specification requests.
    """
    known = read_versions().get(cluster.version)
    if known is None:
        return
    if today >= known.extended_support_ends:
        raise SpecError.of(
            f"{_KEY}: {cluster.version!r} left extended support on {known.extended_support_ends}, "
            f"and EKS upgrades such clusters by itself; use {_supported(today)}"
        )
    if cluster.support == "standard" and today >= known.standard_support_ends:
        raise SpecError.of(
            f"{_KEY}: {cluster.version!r} left standard support on {known.standard_support_ends}, "
            f"and EKS upgrades clusters with support: standard by itself; use {_supported(today)}, "
            f"or set cluster.support: extended, at {_describe_prices()}"
        )


def find_support_warnings(cluster: ClusterSpec, today: date) -> list[str]:
    """Return one line for each support period that ends within 60 days, or that has ended."""
    known = read_versions().get(cluster.version)
    if known is None:
        return [
            f"{_KEY}: Berth does not know when the support of {cluster.version} ends. See "
            f"{_CALENDAR}."
        ]
    return list(_warnings(cluster, known, today))


def _warnings(cluster: ClusterSpec, known: EksVersion, today: date) -> Iterator[str]:
    soon = today + timedelta(days=WARNING_DAYS)
    how = "See docs/how-to/upgrade-the-cluster.md."
    if today < known.standard_support_ends <= soon:
        then = (
            "EKS then upgrades the cluster by itself"
            if cluster.support == "standard"
            else f"the cluster then costs {_describe_prices()}"
        )
        yield (
            f"{_KEY}: standard support of {known.version} ends on {known.standard_support_ends}, "
            f"in {(known.standard_support_ends - today).days} days; {then}. {how}"
        )
    elif today >= known.standard_support_ends:
        yield (
            f"{_KEY}: {known.version} is in extended support, at {_describe_prices()}, until "
            f"{known.extended_support_ends}. {how}"
        )


def _describe_prices() -> str:
    """Return what extended support costs instead of standard support, the same in all Regions."""
    standard, extended = (
        max(read_table("prices")["prices"][key]["usd"].values())
        for key in ("eks_standard", "eks_extended")
    )
    return f"{extended:.2f} instead of {standard:.2f} USD per hour"


def _supported(today: date) -> str:
    """Return the versions in standard support, newest first."""
    versions = [
        version for version, known in read_versions().items() if today < known.standard_support_ends
    ]
    return " or ".join(reversed(versions)) or "a newer version, after an upgrade of Berth"
