"""The registry that images are pushed to and pulled from."""

from typing import Annotated

from pydantic import Field

from berth.spec.section import Section
from berth.spec.text import Account, KubernetesName, Region, RoleName, StackName, Text

RegistryUrl = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(\/[a-z0-9._-]+)*",
        "a registry without a scheme, such as registry.example.com/berth",
    ),
]


class ReplicaOfRegistry(Section):
    """Where images are copied to when they are pushed."""

    region: Region
    """The other region."""
    account: Account | None = None
    """The other account; this one when omitted."""


class ReaderOfRegistry(Section):
    """An account whose stacks pull images from here: by their nodes' roles, and no others."""

    account: Account
    """The other account."""
    roles: list[RoleName] = Field(default=[], max_length=20)
    """Further roles there that may pull, such as the one that runs `up`, which looks whether an
    image is there."""


class RegistrySpec(Section):
    """The registry: any on a cluster of one's own, ECR on AWS."""

    url: RegistryUrl | None = None
    """Registry and path to push to. Needed on the platform kubernetes; on aws it is the ECR
    registry of the stack, and not given."""
    plain_http: bool = False
    """kubernetes: whether the registry is without TLS, as on a laptop."""
    pull_secret: KubernetesName | None = None
    """kubernetes: the Secret (kubernetes.io/dockerconfigjson) of the namespace that pods pull with;
    none where the nodes may pull by themselves."""
    source_stack: StackName | None = None
    """aws: the stack whose registry this one pulls from, so that both run the same digests; the
    stack has a registry of its own when omitted."""
    source_account: Account | None = None
    """aws: the account of `source_stack`; this one when omitted."""
    readers: list[ReaderOfRegistry] = Field(default=[], max_length=20)
    """aws: other accounts whose stacks pull from this one's registry."""
    replicate_to: list[ReplicaOfRegistry] = Field(default=[], max_length=25)
    """aws: where every image is copied to."""
    keep_images: int = Field(default=50, ge=5, le=1000)
    """aws: images kept per model of those that no stack was ever to run; the others stay, so that
    a stack can go back to each of its releases."""
    keep_untagged_days: int = Field(default=14, ge=1, le=3650)
    """aws: days until an image without a tag is deleted."""
