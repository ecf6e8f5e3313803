"""PodRole: what the pods of one service account may do in AWS, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import eks, iam

from pulumi_berth.aws.assume_role import assumed_by_pods


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """Whose role, and for what.

    Attributes:
        account: number of the account.
        cluster_name: of the EKS cluster whose pods they are.
        cluster_arn: of the same.
        namespace: of the service account.
        service_account: its name.
        policy: IAM policy as JSON, where it has one of its own.
        managed: AWS's own policies, by name.
    """

    account: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    namespace: pulumi.Input[str]
    service_account: str
    policy: pulumi.Input[str] | None = None
    managed: Sequence[str] = ()


class PodRole(pulumi.ComponentResource):
    """A role that only these pods can take on, through EKS Pod Identity. Pods that are started
    before it is there do without it.

    Attributes:
        arn: of the role.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: PodRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:PodRole", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            name,
            assume_role_policy=pulumi.Output.all(args.account, args.cluster_arn).apply(
                lambda known: assumed_by_pods(*known)
            ),
            opts=inside,
        )
        rights: list[pulumi.Resource] = [
            iam.RolePolicyAttachment(
                f"{name}-{policy.rpartition('/')[2]}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=inside,
            )
            for policy in args.managed
        ]
        if args.policy is not None:
            rights.append(iam.RolePolicy(name, role=role.id, policy=args.policy, opts=inside))
        eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=rights)),
        )
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})
