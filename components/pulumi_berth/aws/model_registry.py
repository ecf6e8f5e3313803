"""ModelRegistry and RegistryReplication: ECR repositories for images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import ecr

from pulumi_berth.aws.iam_roles import node_role_prefix
from pulumi_berth.aws.replication_backfill import ReplicationBackfill
from pulumi_berth.component_args import parse_args
from pulumi_berth.values import default_to

# Permissions to pull an image:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-pull.html
_PULL_ACTIONS = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
]
_RELEASE_TAG = "release-"
"""Prefix of the tags of images that a stack has run. `images.built_image` sets them."""
_ATTACHMENT_TAG = "sha256-"
"""Prefix of the tags of artifacts that are attached to an image, such as its SBOM."""
# Exceeds the number of images in a repository:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
_UNLIMITED = 100_000


@dataclass(frozen=True, kw_only=True)
class RegistryReader:
    """Another account that pulls images: the nodes of its stacks, and additional roles."""

    account: pulumi.Input[str]
    """Account ID."""
    roles: Sequence[str] | None = None
    """Names of additional roles, such as the role that runs updates there."""


@dataclass(frozen=True, kw_only=True)
class ModelRegistryArgs:
    """Arguments for `ModelRegistry`."""

    name_prefix: str
    """First part of each repository's name, such as `berth-dev`."""
    repositories: Sequence[str]
    """Second part of the names: one per model and one per other image."""
    key: pulumi.Input[str]
    """ARN of the KMS key that encrypts images."""
    keep_images: int | None = None
    """Images without a release tag to keep in each repository. Defaults to 50."""
    keep_untagged_days: int | None = None
    """Days to keep an image without a tag. Defaults to 14."""
    readers: Sequence[RegistryReader] | None = None
    """Other accounts that can pull. Roles of this account need only their own policies."""
    protect: bool | None = None
    """If true, Pulumi does not delete the repositories, and AWS does not delete a repository with
    images. Defaults to false."""


class ModelRegistry(pulumi.ComponentResource):
    """Amazon ECR: one repository per image, encrypted, with immutable tags and a scan at each push.

    Images that a stack has run are kept, so that every release can be restored.
    """

    names: list[pulumi.Output[str]]
    """Names of the repositories, in the order of the arguments."""

    def __init__(
        self, name: str, args: ModelRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ModelRegistry", name, None, opts)
        args = parse_args(ModelRegistryArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        rules = json.dumps(
            build_lifecycle_policy(
                keep_images=default_to(args.keep_images, 50),
                keep_untagged_days=default_to(args.keep_untagged_days, 14),
            )
        )
        self.names = []
        for repository_name in args.repositories:
            repository = ecr.Repository(
                f"{name}-{repository_name}",
                name=f"{args.name_prefix}/{repository_name}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=ecr.RepositoryImageScanningConfigurationArgs(
                    scan_on_push=True
                ),
                encryption_configurations=[
                    ecr.RepositoryEncryptionConfigurationArgs(
                        encryption_type="KMS", kms_key=args.key
                    )
                ],
                force_delete=not args.protect,
                opts=pulumi.ResourceOptions.merge(
                    child_opts, pulumi.ResourceOptions(protect=args.protect)
                ),
            )
            ecr.LifecyclePolicy(
                f"{name}-{repository_name}",
                repository=repository.name,
                policy=rules,
                opts=child_opts,
            )
            if args.readers:
                ecr.RepositoryPolicy(
                    f"{name}-{repository_name}",
                    repository=repository.name,
                    policy=_declare_reader_policy(args.readers),
                    opts=child_opts,
                )
            self.names.append(repository.name)
        self.register_outputs({"names": self.names})


def _declare_reader_policy(readers: Sequence[RegistryReader]) -> pulumi.Output[str]:
    roles = [reader.roles or () for reader in readers]
    return pulumi.Output.all(*(reader.account for reader in readers)).apply(
        lambda accounts: _build_reader_policy(dict(zip(accounts, roles, strict=True)))
    )


def _build_reader_policy(roles: Mapping[str, Sequence[str]]) -> str:
    """Return the policy for other accounts.

    The condition names roles. Without it, every principal that an account lets pull images could
    pull these images.

    Args:
        roles: Names of additional roles, by account.
    """
    pull = {
        "Sid": "PullByOtherAccounts",
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{account}:root" for account in roles]},
        "Action": _PULL_ACTIONS,
        "Condition": {
            "ArnLike": {
                "aws:PrincipalArn": [
                    f"arn:aws:iam::{account}:role/{role}"
                    for account, names in roles.items()
                    # Roles have an optional path; the console creates some roles with a path.
                    for name in (node_role_prefix("*") + "*", *names)
                    for role in (name, f"*/{name}")
                ]
            }
        },
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [pull]})


def build_lifecycle_policy(*, keep_images: int, keep_untagged_days: int) -> dict[str, Any]:
    """Return an ECR lifecycle policy that never deletes an image of a release.

    A stack can roll back to any of its releases. Berth tags the images that a stack runs
    `release-<content>`. The first rule matches these images and deletes none of them: ECR applies
    the rules by priority, and an image that one rule matches is skipped by all later rules.
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html

    Args:
        keep_images: Number of images with other tags to keep, newest first.
        keep_untagged_days: Days to keep an image without a tag.
    """
    return {
        "rules": [
            _expire(
                1,
                "keep releases",
                {
                    "tagStatus": "tagged",
                    "tagPatternList": [f"{_RELEASE_TAG}*", f"{_ATTACHMENT_TAG}*"],
                    "countType": "imageCountMoreThan",
                    "countNumber": _UNLIMITED,
                },
            ),
            _expire(
                2,
                f"delete images without a tag after {keep_untagged_days} days",
                {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": keep_untagged_days,
                },
            ),
            _expire(
                3,
                f"keep the newest {keep_images} of the other images",
                {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": keep_images,
                },
            ),
        ]
    }


def _expire(priority: int, description: str, selection: dict[str, Any]) -> dict[str, Any]:
    return {
        "rulePriority": priority,
        "description": description,
        "selection": selection,
        "action": {"type": "expire"},
    }


@dataclass(frozen=True, kw_only=True)
class ReplicationTarget:
    """A Region and account that receives a copy of each image."""

    region: str
    account: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class RegistryReplicationArgs:
    """Arguments for `RegistryReplication`.

    Attributes:
        name_prefix: First part of the repositories' names.
        region: Region of the repositories.
        account: Account of the repositories.
        targets: Destinations, at most 25
            (https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html).
    """

    name_prefix: str
    region: pulumi.Input[str]
    account: pulumi.Input[str]
    targets: Sequence[ReplicationTarget]


class RegistryReplication(pulumi.ComponentResource):
    """The replication rule for pushed images, and the copy of those that were pushed before it.

    An account has one replication configuration per Region, so only one stack there can have this
    component.
    """

    def __init__(
        self,
        name: str,
        args: RegistryReplicationArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("berth:aws:RegistryReplication", name, None, opts)
        args = parse_args(RegistryReplicationArgs, args)
        rule = ecr.ReplicationConfiguration(
            name,
            replication_configuration={
                "rules": [
                    {
                        "destinations": [
                            {"region": target.region, "registry_id": target.account}
                            for target in args.targets
                        ],
                        "repository_filters": [
                            {"filter": f"{args.name_prefix}/", "filter_type": "PREFIX_MATCH"}
                        ],
                    }
                ]
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        for number, target in enumerate(args.targets):
            ReplicationBackfill(
                f"{name}-{number}",
                region=args.region,
                account=args.account,
                target_region=target.region,
                target_account=target.account,
                name_prefix=args.name_prefix,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[rule]),
            )
        self.register_outputs({})
