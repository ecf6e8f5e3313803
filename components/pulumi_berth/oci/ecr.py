"""Login to Amazon ECR with the current AWS credentials."""

import base64
import re
from functools import lru_cache

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")


def find_ecr_registry(host: str) -> tuple[str, str] | None:
    """Return the account and Region of a private ECR registry, or None for any other host."""
    match = _HOST.fullmatch(host)
    return None if match is None else (match["account"], match["region"])


@lru_cache(maxsize=32)
def ecr_login(host: str) -> tuple[str, str] | None:
    """Return the user and password of an ECR registry, or None for any other registry.

    The password is valid for 12 hours.

    Raises:
        RuntimeError: If AWS rejects the request.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("ecr", region_name=match["region"])
        response = client.get_authorization_token(registryIds=[match["account"]])
    except (BotoCoreError, ClientError) as error:
        raise RuntimeError(
            f"Could not log in to {host}: {error}. Use credentials of account "
            f"{match['account']} with the permission ecr:GetAuthorizationToken."
        ) from error
    token = base64.b64decode(response["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    return user, password
