"""ApiGatewayLogs: the role by which API Gateway writes logs, one for an account and region."""

import pulumi
from pulumi_aws import apigateway, iam

from pulumi_berth.aws.assume_role import assumed_by

_POLICY = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"


class ApiGatewayLogs(pulumi.ComponentResource):
    """Lets every API of the account and region log.

    It belongs to the account, not to a stack: the stack that makes it last is the one whose role is
    used, and none takes it away again, since the others' logs would end without a word.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("berth:aws:ApiGatewayLogs", name, None, opts)
        stays = pulumi.ResourceOptions(parent=self, retain_on_delete=True)
        role = iam.Role(name, assume_role_policy=assumed_by("apigateway.amazonaws.com"), opts=stays)
        attached = iam.RolePolicyAttachment(name, role=role.name, policy_arn=_POLICY, opts=stays)
        apigateway.Account(
            name,
            cloudwatch_role_arn=role.arn,
            opts=pulumi.ResourceOptions.merge(stays, pulumi.ResourceOptions(depends_on=[attached])),
        )
        self.register_outputs({})
