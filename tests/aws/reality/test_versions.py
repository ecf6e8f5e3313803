"""Versions of EKS, its add-ons, AMI types and autoscaler go together and are supported."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from berth.operations.preflight import require
from berth.platforms import get_platform
from berth.platforms.aws import support
from berth.platforms.stack_context import StackContext
from berth.spec import ClusterSpec, HostingSpec, SpecError, load_file
from pulumi_berth.aws.eks_versions import (
    AFTER_NODES,
    BEFORE_NODES,
    read_recorded,
    read_system_disks,
    read_versions,
)
from pulumi_berth.aws.node_pool import AMI_TYPES, SYSTEM_GIB
from pulumi_berth.images.third_party import read_images
from tests.repository import REPOSITORY

_STACKS = ("dev", "prod")


def _cluster(version: str, **values: object) -> ClusterSpec:
    return ClusterSpec.model_validate({"version": version, **values})


def _load(stack: str) -> HostingSpec:
    return load_file(REPOSITORY / f"Pulumi.{stack}.yaml")


@pytest.mark.parametrize("stack", _STACKS)
def test_version_of_stack_has_60_days_of_support_left(stack: str) -> None:
    """Fail while there is time to upgrade: AWS upgrades a cluster by itself at the end."""
    cluster = _load(stack).cluster
    support.require_supported(cluster, date.today())
    assert support.find_support_warnings(cluster, date.today()) == []


def test_default_version_has_60_days_of_support_left() -> None:
    assert support.find_support_warnings(ClusterSpec(), date.today()) == []


def test_table_is_younger_than_its_first_end_of_support() -> None:
    """A table that nobody updates would offer only versions that EKS no longer supports."""
    newest = list(read_versions().values())[-1]
    assert read_recorded() < newest.standard_support_ends
    assert date.today() + timedelta(days=support.WARNING_DAYS) < newest.standard_support_ends


@pytest.mark.parametrize("version", list(read_versions()))
def test_support_periods_are_14_and_12_months(version: str) -> None:
    """The rule of https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html."""
    known = read_versions()[version]
    standard = (known.standard_support_ends - known.released).days
    assert 420 <= standard <= 430
    assert known.extended_support_ends == known.standard_support_ends.replace(
        year=known.standard_support_ends.year + 1
    )


@pytest.mark.parametrize("version", list(read_versions()))
def test_version_has_all_addons_and_an_autoscaler(version: str) -> None:
    addons = read_versions()[version].addons
    assert {*BEFORE_NODES, *AFTER_NODES, "aws-ebs-csi-driver"} == set(addons)
    # kube-proxy has the minor version of the cluster:
    # https://kubernetes.io/releases/version-skew-policy/#kube-proxy
    assert addons["kube-proxy"].startswith(f"v{version}.")
    assert f"cluster-autoscaler-{version}" in read_images()


def test_system_disk_holds_the_image_of_every_ami_type() -> None:
    """EC2 refuses a smaller disk: https://github.com/aws/karpenter-provider-aws/pull/2400."""
    disks = read_system_disks()
    assert set(disks) == set(AMI_TYPES.values())
    assert max(disks.values()) <= SYSTEM_GIB


@pytest.mark.parametrize("stack", _STACKS)
def test_every_addon_of_a_stack_has_a_version(stack: str) -> None:
    resolved = support.resolve_addon_versions(_load(stack).cluster)
    assert {*BEFORE_NODES, *AFTER_NODES} <= set(resolved)


def test_version_that_ended_is_refused_with_the_supported_ones() -> None:
    today = date(2026, 11, 26)
    with pytest.raises(SpecError, match=r"left standard support on 2026-07-29.*1\.36 or 1\.35"):
        support.require_supported(_cluster("1.33"), today)
    support.require_supported(_cluster("1.33", support="extended"), today)
    with pytest.raises(SpecError, match="left extended support on 2027-07-29"):
        support.require_supported(_cluster("1.33", support="extended"), date(2027, 7, 29))


@pytest.mark.parametrize(
    ("version", "mode", "today", "expected"),
    [
        ("1.35", "standard", date(2027, 1, 25), None),
        ("1.35", "standard", date(2027, 1, 26), "in 60 days; EKS then upgrades the cluster"),
        ("1.35", "extended", date(2027, 3, 26), "in 1 days; the cluster then costs 0.60"),
        ("1.33", "extended", date(2026, 11, 26), "is in extended support, at 0.60"),
        ("1.99", "standard", date(2026, 11, 26), "does not know when the support of 1.99 ends"),
    ],
)
def test_preview_warns_60_days_before_the_end(
    version: str, mode: str, today: date, expected: str | None
) -> None:
    warnings = support.find_support_warnings(_cluster(version, support=mode), today)
    assert (expected is None) == (warnings == [])
    assert expected is None or expected in warnings[0]


def test_preview_and_up_refuse_and_warn_before_they_need_credentials(tmp_path: Path) -> None:
    text = (
        (REPOSITORY / "Pulumi.dev.yaml").read_text().replace('version: "1.35"', 'version: "1.33"')
    )
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    platform = get_platform("aws")
    with pytest.raises(SpecError, match="left standard support on 2026-07-29"):
        require(
            StackContext(root=tmp_path, stack="dev", spec=load_file(path)),
            platform.list_requirements(),
        )
    path.write_text(text.replace("support: standard", "support: extended"))
    (warning,) = platform.find_warnings(load_file(path))
    assert "1.33 is in extended support" in warning


def test_unknown_version_needs_every_part_pinned(tmp_path: Path) -> None:
    assert support.find_unpinned_parts(_cluster("1.35")) == []
    assert "cluster.addons.kube-proxy" in support.find_unpinned_parts(_cluster("1.37"))
    text = (REPOSITORY / "Pulumi.dev.yaml").read_text()
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text.replace('version: "1.35"', 'version: "1.37"'))
    with pytest.raises(SpecError, match=r"'1.37' is not in Berth's table of EKS versions \(1.33"):
        load_file(path)
    pinned = dict.fromkeys((*BEFORE_NODES, *AFTER_NODES), "v1.2.3-eksbuild.1")
    cluster = _cluster("1.37", addons=pinned, autoscaler_image="registry.k8s.io/a/b:v1.37.0")
    assert support.find_unpinned_parts(cluster) == []
