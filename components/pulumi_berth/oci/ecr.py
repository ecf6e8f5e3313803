"""Logging in to ECR with the AWS credentials at hand."""

import base64
import re
from functools import lru_cache

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")


@lru_cache(maxsize=32)
def ecr_login(host: str) -> tuple[str, str] | None:
    """User and password of an ECR registry, good for 12 hours; None for any other registry.

    Args:
        host: of the registry.

    Raises:
        RuntimeError: AWS does not give one.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("ecr", region_name=found["region"])
        answer = client.get_authorization_token(registryIds=[found["account"]])
    except (BotoCoreError, ClientError) as error:
        raise RuntimeError(
            f"{host}: AWS gives no login: {error}; are there credentials of account "
            f"{found['account']}, with ecr:GetAuthorizationToken?"
        ) from error
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    return user, password
