"""A replication rule applies to later pushes, so earlier images are copied explicitly.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication-backfill.html
"""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from berth.platforms.aws.platform import PLATFORM
from berth.platforms.aws.replication_rules import check_rules
from berth.platforms.aws.requirements import list_requirements
from berth.platforms.preflight import Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError, load_file
from pulumi_berth.aws import replication_backfill
from pulumi_berth.aws_identity import AwsIdentity
from tests.aws.reality.declared import declare, select
from tests.repository import REPOSITORY

_INPUTS = {
    "region": "eu-central-1", "account": "123456789012", "target_region": "eu-west-1",
    "target_account": "123456789012", "name_prefix": "berth-dev",
}  # fmt: skip
_REQUEST = {
    "registryId": "123456789012",
    "destination": {"region": "eu-west-1", "registryId": "123456789012"},
}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_target_of_a_rule_gets_the_earlier_images(stack: str) -> None:
    resources = declare(stack)
    rules = select(resources, "aws:ecr/replicationConfiguration:ReplicationConfiguration")
    targets = {
        (target["region"], target["registryId"])
        for inputs in rules.values()
        for rule in inputs["replicationConfiguration"]["rules"]
        for target in rule["destinations"]
    }
    backfills = select(resources, "pulumi-python:dynamic/berth:ReplicationBackfill").values()
    copied = {(inputs["target_region"], inputs["target_account"]) for inputs in backfills}
    assert copied == targets
    assert bool(targets) == (stack == "prod")


_RULES = {
    "ours": {
        "destinations": [{"region": "eu-west-1", "registryId": "123456789012"}],
        "repositoryFilters": [{"filter": "berth-dev/", "filterType": "PREFIX_MATCH"}],
    },
    "team": {
        "destinations": [{"region": "us-east-2", "registryId": "123456789012"}],
        "repositoryFilters": [{"filter": "team/", "filterType": "PREFIX_MATCH"}],
    },
    "all": {"destinations": [{"region": "us-east-2", "registryId": "123456789012"}]},
}


def _prod(ecr: Any, *rules: str) -> StackContext:
    """Return the stack prod, whose account has these rules in its registry."""
    listed = {"rules": [_RULES[name] for name in rules]}
    ecr.add_response("describe_registry", {"replicationConfiguration": listed}, {})
    spec = load_file(REPOSITORY / "Pulumi.prod.yaml")
    return StackContext(root=REPOSITORY, stack="prod", spec=spec)


@pytest.mark.parametrize("rules", [(), ("ours",)])
def test_registry_with_the_rules_of_the_stack_passes(rules: tuple[str, ...], ecr: Any) -> None:
    context = _prod(ecr, *rules)
    assert check_rules(context).status is Status.PASSED


@pytest.mark.parametrize(
    ("rules", "named"),
    [(("team",), "'team/' to us-east-2"), (("ours", "all"), "all repositories to us-east-2")],
)
def test_rules_of_others_stop_the_update_and_the_removal(
    rules: tuple[str, ...], named: str, ecr: Any
) -> None:
    with pytest.raises(SpecError, match="this command would replace it") as caught:
        _require_rules(_prod(ecr, *rules))
    assert named in str(caught.value)
    assert "add a rule for 'berth-dev/'" in str(caught.value)
    with pytest.raises(SpecError, match="this command would empty it"):
        PLATFORM.check_ownership(_prod(ecr, *rules), {}, for_removal=True)


def _require_rules(context: StackContext) -> None:
    (requirement,) = (one for one in list_requirements() if one.name == "replication-rules")
    requirement.check(context)


def test_rules_that_the_account_does_not_tell_are_not_checked(ecr: Any) -> None:
    ecr.add_client_error("describe_registry", "AccessDeniedException")
    spec = load_file(REPOSITORY / "Pulumi.prod.yaml")
    context = StackContext(root=REPOSITORY, stack="prod", spec=spec)
    assert check_rules(context).status is Status.NOT_CHECKED


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Any:
    client = boto3.client(
        "ecr", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    monkeypatch.setattr(AwsIdentity, "create_client", lambda *_, **__: client)
    with Stubber(client) as stub:
        yield stub


def test_backfill_is_started_for_the_target(ecr: Any) -> None:
    answer = {"replicationBackfillId": "0", "status": "PREPARING"}
    ecr.add_response("start_replication_backfill", answer, _REQUEST)
    assert replication_backfill.start_backfill(_INPUTS) == "0"


def test_backfill_in_progress_is_not_an_error(ecr: Any) -> None:
    ecr.add_client_error("start_replication_backfill", "ReplicationBackfillInProgressException")
    assert replication_backfill.start_backfill(_INPUTS) == "in progress: eu-west-1"


def test_rejected_backfill_names_the_permission(ecr: Any) -> None:
    ecr.add_client_error("start_replication_backfill", "AccessDeniedException")
    with pytest.raises(
        replication_backfill.BackfillError, match="permission ecr:StartReplicationBackfill"
    ):
        replication_backfill.start_backfill(_INPUTS)
