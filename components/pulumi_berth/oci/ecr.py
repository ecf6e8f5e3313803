"""Login to Amazon ECR with the AWS identity of the stack."""

import base64
import re
from functools import lru_cache

from pulumi_berth.aws_identity import get_identity

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")


def find_ecr_registry(host: str) -> tuple[str, str] | None:
    """Return the account and Region of a private ECR registry, or None for any other host."""
    match = _HOST.fullmatch(host)
    return None if match is None else (match["account"], match["region"])


def ecr_login(host: str) -> tuple[str, str] | None:
    """Return the user and password of an ECR registry, or None for any other registry.

    The password is valid for 12 hours.

    Raises:
        RuntimeError: If AWS rejects the request.
    """
    registry = find_ecr_registry(host)
    return None if registry is None else _log_in(host, *registry)


@lru_cache(maxsize=32)
def _log_in(host: str, account: str, region: str) -> tuple[str, str]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = get_identity().create_client("ecr", region=region)
        response = client.get_authorization_token(registryIds=[account])
    except (BotoCoreError, ClientError) as error:
        raise RuntimeError(
            f"Could not log in to {host}: {error}. Use credentials of account "
            f"{account} with the permission ecr:GetAuthorizationToken."
        ) from error
    token = base64.b64decode(response["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    return user, password
