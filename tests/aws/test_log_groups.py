"""Log groups with prescribed names: created, destroyed, and created again."""

from collections.abc import Callable
from typing import Any

import pytest

from berth.platforms.aws.leftovers import remove_leftovers
from tests.aws.emulation import REGION, Emulation
from tests.aws.program import Program

_GROUP = "/aws/eks/berth-gone/cluster"
_PROGRAM = f"""
import pulumi
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from pulumi_berth.aws.logs import LogSettings, create_log_group

key = EncryptionKey("logs", EncryptionKeyArgs(
    stack_name="test", purpose="Logs", account="123456789012", deletion_window_days=7))
create_log_group(
    "cluster", LogSettings(path_prefix="/berth/test", days=14, key=key.arn),
    pulumi.ResourceOptions(), path="{_GROUP}")
"""


def _create_cluster(eks: Any, aws: Emulation) -> None:
    """Create the cluster whose log group the program declares."""
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/24")["Subnet"]["SubnetId"]
    eks.create_cluster(
        name="berth-gone",
        version="1.35",
        roleArn=aws.create_role("cluster"),
        resourcesVpcConfig={"subnetIds": [subnet]},
    )


def test_up_succeeds_after_aws_has_created_the_group_again(
    new_program: Callable[[str], Program], aws: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    settings = {"region": REGION}
    eks = aws.client("eks")
    _create_cluster(eks, aws)
    program = new_program("logs").write(_PROGRAM)
    program.up()
    program.destroy()
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=_GROUP)["logGroups"]
    assert ["kmsKeyId" in group for group in groups] == [False]

    failed = program.pulumi("up", "--yes", "--skip-preview", "--stack", "test", code=1)
    assert "already exists" in failed.stdout + failed.stderr
    assert remove_leftovers(settings, "gone") == []  # The cluster still exists.
    eks.delete_cluster(name="berth-gone")
    assert remove_leftovers(settings, "gone") == [_GROUP]
    program.up()
    assert remove_leftovers(settings, "gone") == []  # The stack's own group has a key and tags.
