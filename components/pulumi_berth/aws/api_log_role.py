"""ApiLogRole: the role with which API Gateway writes logs, one for the account and Region."""

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.aws.iam_policies import service_trust_policy
from pulumi_berth.aws_identity import get_identity
from pulumi_berth.providers import ApiLogRoleProvider

POLICY = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
"""ARN of the policy that AWS has for this role."""
_WAIT_SECONDS, _POLL_SECONDS = 120.0, 5.0
# API Gateway's error for a role that IAM does not show to every service yet.
_NOT_YET = "BadRequestException"


class ApiLogRoleError(RuntimeError):
    """API Gateway has no role to write logs, and Berth could not give it one."""


class ApiLogRole(Resource, module="berth", name="ApiLogRole"):
    """The role of an account and Region, created only if API Gateway has none.

    The setting belongs to the account: another role would end the logs of APIs that rely on the
    current one. So a role that exists is used as it is, also one that an earlier stack left.
    Deleting the resource keeps the role.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html

    Attributes:
        role_arn: ARN of the role.
    """

    role_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        region: pulumi.Input[str],
        tags: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Use the account's role, or create it.

        Args:
            tags: Tags of a role that is created.
        """
        inputs = {"region": region, "tags": dict(tags), "role_arn": None}
        super().__init__(ApiLogRoleProvider(), name, inputs, opts)


def find_role(region: str) -> str | None:
    """Return the ARN of the role that API Gateway uses, or None if it has none that exists.

    Raises:
        ApiLogRoleError: If AWS rejects the request.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        account = get_identity().create_client("apigateway", region=region).get_account()
        arn = account.get("cloudwatchRoleArn")
        if not arn:
            return None
        try:
            iam = get_identity().create_client("iam", region=region)
            iam.get_role(RoleName=arn.rpartition("/")[2])
        except ClientError as error:
            if _get_code(error) == "NoSuchEntity":
                return None
            # Who may not read the role can still use it.
            if _get_code(error) != "AccessDenied":
                raise
    except (BotoCoreError, ClientError) as error:
        raise _explain(region, error) from error
    return str(arn)


def ensure_role(inputs: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Return the ARN of the role that API Gateway uses. If it has none, create one and set it.

    Args:
        sleep: Waits between two attempts to set a role that is new.

    Raises:
        ApiLogRoleError: If AWS rejects a request. The created role is then deleted.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    region = inputs["region"]
    if found := find_role(region):
        return found
    iam = get_identity().create_client("iam", region=region)
    # A generated name, so that it never is the name of a role that exists.
    name = f"berth-api-logs-{region}-{secrets.token_hex(4)}"
    try:
        arn = str(
            iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=service_trust_policy("apigateway.amazonaws.com"),
                Description="Lets the APIs of this account and Region write logs",
                Tags=[{"Key": key, "Value": value} for key, value in inputs["tags"].items()],
            )["Role"]["Arn"]
        )
    except (BotoCoreError, ClientError) as error:
        raise _explain(region, error) from error
    try:
        iam.attach_role_policy(RoleName=name, PolicyArn=POLICY)
        _set_role(region, arn, sleep)
    except (BotoCoreError, ClientError) as error:
        with contextlib.suppress(ClientError):
            iam.detach_role_policy(RoleName=name, PolicyArn=POLICY)
        with contextlib.suppress(ClientError):
            iam.delete_role(RoleName=name)
        raise _explain(region, error) from error
    return arn


def _set_role(region: str, arn: str, sleep: Callable[[float], None]) -> None:
    from botocore.exceptions import ClientError

    gateway = get_identity().create_client("apigateway", region=region)
    patch = [{"op": "replace", "path": "/cloudwatchRoleArn", "value": arn}]
    for remaining in reversed(range(int(_WAIT_SECONDS / _POLL_SECONDS))):
        try:
            gateway.update_account(patchOperations=patch)
        except ClientError as error:
            if _get_code(error) != _NOT_YET or not remaining:
                raise
            sleep(_POLL_SECONDS)
        else:
            return


def _get_code(error: Any) -> str:
    return str(error.response["Error"]["Code"])


def _explain(region: str, error: Exception) -> ApiLogRoleError:
    reason = str(error).rstrip(".")
    return ApiLogRoleError(
        f"Could not give API Gateway in {region} a role to write logs: {reason}. Use credentials "
        "with the permissions apigateway:GET and apigateway:PATCH on /account, iam:GetRole, "
        "iam:CreateRole, iam:TagRole, iam:AttachRolePolicy and iam:PassRole, or set a role in the "
        "settings of API Gateway yourself. Then run 'berth up' again."
    )
