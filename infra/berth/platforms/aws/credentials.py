"""The AWS credentials at hand, asked for before anything is declared."""

from collections.abc import Mapping
from typing import Any

from berth.spec import SpecError

_SECONDS = 5


def require_credentials(settings: Mapping[str, Any]) -> None:
    """Have AWS say whose credentials these are.

    Args:
        settings: of the AWS provider. With `skipCredentialsValidation`, as where AWS is emulated,
            nothing is asked.

    Raises:
        SpecError: there are none, or AWS does not know them.
    """
    if str(settings.get("skipCredentialsValidation", "")).lower() == "true":
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(
        connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1}
    )
    region = str(settings["region"])
    try:
        session = boto3.Session(profile_name=settings.get("profile"), region_name=region)
        session.client("sts", config=limits).get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise SpecError.of(
            f"aws: no credentials that AWS takes in {region}: {' '.join(str(error).split())}; "
            "`aws sso login` or `aws configure` makes some, AWS_PROFILE or aws:profile chooses "
            "them (aws sts get-caller-identity asks the same)"
        ) from error
