"""RegistryReplication: a copy of every image in other regions or accounts."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ecr


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Where to: a region, and the number of an account."""

    region: str
    account: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class RegistryReplicationArgs:
    """What is copied, and where to.

    Attributes:
        prefix: of the repositories' names.
        copies: where to, at most 25
            (https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html).
    """

    prefix: str
    copies: Sequence[Copy]


class RegistryReplication(pulumi.ComponentResource):
    """The rule by which ECR copies what is pushed. An account has one such setting in a region: of
    two stacks there, one alone can replicate."""

    def __init__(
        self,
        name: str,
        args: RegistryReplicationArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("berth:aws:RegistryReplication", name, None, opts)
        ecr.ReplicationConfiguration(
            name,
            replication_configuration={
                "rules": [
                    {
                        "destinations": [
                            {"region": copy.region, "registry_id": copy.account}
                            for copy in args.copies
                        ],
                        "repository_filters": [
                            {"filter": f"{args.prefix}/", "filter_type": "PREFIX_MATCH"}
                        ],
                    }
                ]
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
