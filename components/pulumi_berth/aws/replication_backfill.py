"""ReplicationBackfill: the copy of images that were pushed before a replication rule existed."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.aws_identity import get_identity
from pulumi_berth.providers import ReplicationBackfillProvider

COMPARED = ("region", "account", "target_region", "target_account", "name_prefix")
"""Inputs that start another backfill when they change."""
_IN_PROGRESS = "ReplicationBackfillInProgressException"


class BackfillError(RuntimeError):
    """AWS rejected the request for a backfill."""


class ReplicationBackfill(Resource, module="berth", name="ReplicationBackfill"):
    """One copy of all images that a replication rule selects to one of its targets.

    A rule applies only to images that are pushed after it. ECR copies the others when asked to:
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication-backfill.html
    The copy continues after the update. Deleting the resource keeps what was copied.
    """

    def __init__(
        self,
        name: str,
        *,
        region: pulumi.Input[str],
        account: pulumi.Input[str],
        target_region: str,
        target_account: pulumi.Input[str],
        name_prefix: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Start the copy.

        Args:
            region: Region of the registry with the rule.
            account: Account of that registry.
            target_region: Region of the target.
            target_account: Account of the target.
            name_prefix: First part of the repositories' names in the rule.
        """
        inputs = {
            "region": region,
            "account": account,
            "target_region": target_region,
            "target_account": target_account,
            "name_prefix": name_prefix,
        }
        super().__init__(ReplicationBackfillProvider(), name, inputs, opts)


def start_backfill(inputs: Mapping[str, Any]) -> str:
    """Start the copy and return its ID.

    A copy to the same Region that is in progress is left to finish.

    Raises:
        BackfillError: If AWS rejects the request.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    target = {"region": inputs["target_region"], "registryId": inputs["target_account"]}
    try:
        client = get_identity().create_client("ecr", region=inputs["region"])
        started = client.start_replication_backfill(
            registryId=inputs["account"], destination=target
        )
    except (BotoCoreError, ClientError) as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") == _IN_PROGRESS:
            return f"in progress: {target['region']}"
        raise BackfillError(
            f"Could not copy earlier images to {target['region']}: {error}. Use credentials with "
            "the permission ecr:StartReplicationBackfill, then run 'berth up' again."
        ) from error
    return str(started["replicationBackfillId"])
