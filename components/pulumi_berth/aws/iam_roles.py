"""IAM roles of cluster nodes and of Pods."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import eks, iam

from pulumi_berth.aws.iam_policies import pod_trust_policy, service_trust_policy
from pulumi_berth.component_args import parse_args

# Nodes join the cluster and pull images. Pods have their own permissions (Pod Identity).
# https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html
# AmazonEKSWorkerNodeMinimalPolicy is not sufficient: Bottlerocket calls ec2:DescribeInstances for
# the node's name, and without that name no node joins (bottlerocket-os/bottlerocket-core-kit 849).
_NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")


def node_role_prefix(stack: str) -> str:
    """Return the name prefix of a stack's node role. Registries of other accounts match it."""
    return f"berth-{stack}-nodes-"


@dataclass(frozen=True, kw_only=True)
class NodeRoleArgs:
    """Arguments for `NodeRole`.

    Attributes:
        stack_name: Name of the stack. It is part of the role's name.
    """

    stack_name: str


class NodeRole(pulumi.ComponentResource):
    """An IAM role for all nodes of a cluster.

    Attributes:
        arn: ARN of the role. Known after its permissions are attached.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: NodeRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:NodeRole", name, None, opts)
        args = parse_args(NodeRoleArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            name,
            name_prefix=node_role_prefix(args.stack_name),
            assume_role_policy=service_trust_policy("ec2.amazonaws.com"),
            opts=child_opts,
        )
        attachments = [
            iam.RolePolicyAttachment(
                f"{name}-{policy}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=child_opts,
            )
            for policy in _NODE_POLICIES
        ]
        self.arn = pulumi.Output.all(
            role.arn, *(attachment.id for attachment in attachments)
        ).apply(lambda values: str(values[0]))
        self.register_outputs({"arn": self.arn})


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """Arguments for `PodRole`.

    Attributes:
        account: Account ID.
        cluster_name: Name of the EKS cluster that runs the Pods.
        cluster_arn: ARN of the same cluster.
        namespace: Namespace of the service account.
        service_account: Name of the Pods' service account.
        policy: IAM policy as JSON. Defaults to none.
        managed_policies: Names of AWS managed policies.
    """

    account: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    namespace: pulumi.Input[str]
    service_account: str
    policy: pulumi.Input[str] | None = None
    managed_policies: Sequence[str] | None = None


class PodRole(pulumi.ComponentResource):
    """An IAM role that only these Pods can assume, through EKS Pod Identity.

    Pods that start before the role exists do not receive it.

    Attributes:
        arn: ARN of the role.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: PodRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:PodRole", name, None, opts)
        args = parse_args(PodRoleArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            name,
            assume_role_policy=pulumi.Output.all(args.account, args.cluster_arn).apply(
                lambda values: pod_trust_policy(*values)
            ),
            opts=child_opts,
        )
        permissions: list[pulumi.Resource] = [
            iam.RolePolicyAttachment(
                f"{name}-{policy.rpartition('/')[2]}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=child_opts,
            )
            for policy in args.managed_policies or ()
        ]
        if args.policy is not None:
            permissions.append(
                iam.RolePolicy(name, role=role.id, policy=args.policy, opts=child_opts)
            )
        eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=permissions)
            ),
        )
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})
