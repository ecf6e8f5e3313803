"""NodeRole: what the nodes of a cluster may do in AWS: join it, and pull images."""

import pulumi
from pulumi_aws import iam

from pulumi_berth.aws.assume_role import assumed_by

# What pods may do is theirs (Pod Identity), not their node's.
# https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html
_POLICIES = ("AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly")


def node_role_prefix(stack: str) -> str:
    """How the name of a stack's node role begins: other accounts let it pull by that."""
    return f"berth-{stack}-nodes-"


class NodeRole(pulumi.ComponentResource):
    """A role for all nodes of a cluster.

    Attributes:
        arn: of the role, once it has its rights.
    """

    arn: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("berth:aws:NodeRole", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            name,
            name_prefix=node_role_prefix(pulumi.get_stack()),
            assume_role_policy=assumed_by("ec2.amazonaws.com"),
            opts=inside,
        )
        attached = [
            iam.RolePolicyAttachment(
                f"{name}-{policy}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=inside,
            )
            for policy in _POLICIES
        ]
        self.arn = pulumi.Output.all(role.arn, *(made.id for made in attached)).apply(
            lambda known: str(known[0])
        )
        self.register_outputs({"arn": self.arn})
