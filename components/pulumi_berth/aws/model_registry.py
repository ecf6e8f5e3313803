"""ModelRegistry: where the images of a stack lie."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ecr

from pulumi_berth.aws.lifecycle_plan import lifecycle
from pulumi_berth.aws.node_role import node_role_prefix

# What pulling an image takes: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-pull.html
_PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Who pulls in another account: its stacks' nodes, and who is named.

    Attributes:
        account: its number.
        roles: names of further roles, such as the one that runs updates there.
    """

    account: str
    roles: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ModelRegistryArgs:
    """What lies there, and who reads it.

    Attributes:
        prefix: first part of every repository's name, such as `berth-dev`.
        repositories: the other part: one per model, and one for each other image.
        key: ARN of the key that images are encrypted with.
        keep_images, keep_untagged_days: see `lifecycle`.
        readers: who may pull in other accounts; this one's roles may by their own policies.
        protect: whether the engine refuses to delete it, and AWS a repository that has images.
    """

    prefix: str
    repositories: Sequence[str]
    key: pulumi.Input[str]
    keep_images: int
    keep_untagged_days: int
    readers: Sequence[Reader] = ()
    protect: bool = False


class ModelRegistry(pulumi.ComponentResource):
    """A repository per image: a tag never changes what it stands for, each push is scanned.

    Attributes:
        names: of the repositories, in the order of the arguments.
    """

    names: list[pulumi.Output[str]]

    def __init__(
        self, name: str, args: ModelRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ModelRegistry", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        rules = json.dumps(
            lifecycle(keep_images=args.keep_images, keep_untagged_days=args.keep_untagged_days)
        )
        self.names = []
        for short in args.repositories:
            repository = ecr.Repository(
                f"{name}-{short}",
                name=f"{args.prefix}/{short}",
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
                    inside, pulumi.ResourceOptions(protect=args.protect)
                ),
            )
            ecr.LifecyclePolicy(
                f"{name}-{short}", repository=repository.name, policy=rules, opts=inside
            )
            if args.readers:
                ecr.RepositoryPolicy(
                    f"{name}-{short}",
                    repository=repository.name,
                    policy=_pulled_by(args.readers),
                    opts=inside,
                )
            self.names.append(repository.name)
        self.register_outputs({"names": self.names})


def _pulled_by(readers: Sequence[Reader]) -> str:
    """The account alone would let in whomever it lets pull images at all."""
    pull = {
        "Sid": "PullByOtherAccounts",
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{reader.account}:root" for reader in readers]},
        "Action": _PULL,
        "Condition": {
            "ArnLike": {
                "aws:PrincipalArn": [
                    f"arn:aws:iam::{reader.account}:role/{role}"
                    for reader in readers
                    # A role has a path or none; the console makes some with.
                    for name in (node_role_prefix("*") + "*", *reader.roles)
                    for role in (name, f"*/{name}")
                ]
            }
        },
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [pull]})
