"""`berth bootstrap`: the bucket and keys that store the state of AWS stacks.

This is not a stack, because a stack would need a place for its own state first.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import boto3

from berth.platforms.aws.errors import explain_aws_errors
from berth.platforms.aws.state_bucket import StateBucket
from berth.platforms.aws.state_key import Step, ensure_key

# Two keys, so that permission to read a stack's state does not include reading its secrets.
_STATE_KEY, _SECRETS_KEY = "alias/berth-state", "alias/berth-secrets"
_PERMISSIONS = "docs/how-to/store-state-in-s3.md"


@dataclass(frozen=True, kw_only=True)
class StateBackend:
    """The place that stores state, and the steps that created or repaired it."""

    account: str
    region: str
    bucket: str
    steps: list[Step]

    @property
    def url(self) -> str:
        """The value of PULUMI_BACKEND_URL."""
        return f"s3://{self.bucket}?{urlencode({'region': self.region, 'awssdk': 'v2'})}"

    @property
    def secrets_provider(self) -> str:
        """The value of `pulumi stack init --secrets-provider`."""
        return f"awskms://{_SECRETS_KEY}?{urlencode({'region': self.region})}"


def bootstrap(
    *, region: str | None, bucket: str | None, restore_keys: bool = False
) -> StateBackend:
    """Create the bucket and keys that do not exist, and repair settings that differ.

    Args:
        region: AWS Region. Defaults to the Region in the AWS configuration.
        bucket: Name of the bucket. Defaults to a name with the account and the Region.
        restore_keys: Enable keys that are disabled or scheduled for deletion.

    Raises:
        OperationError: If AWS rejects a request or is unreachable.
    """
    with explain_aws_errors(_PERMISSIONS):
        session = boto3.Session(region_name=region)
        s3, kms = session.client("s3"), session.client("kms")
        account = session.client("sts").get_caller_identity()["Account"]
        region_name = s3.meta.region_name
        name = bucket or f"berth-state-{account}-{region_name}"
        state = StateBucket(s3=s3, name=name, account=account)
        state.exists()  # Check the name first, so that a bad name creates nothing, not even a key.
        key, steps = ensure_key(
            kms, _STATE_KEY, "Berth: Pulumi's state at rest", restore=restore_keys
        )
        steps += state.ensure(key)
        _, secrets_steps = ensure_key(
            kms, _SECRETS_KEY, "Berth: secrets in Pulumi's state", restore=restore_keys
        )
        steps += secrets_steps
    return StateBackend(account=account, region=region_name, bucket=name, steps=steps)


def as_json(backend: StateBackend) -> dict[str, Any]:
    """Return the result as a JSON document."""
    return {
        "account": backend.account,
        "region": backend.region,
        "bucket": backend.bucket,
        "backend_url": backend.url,
        "secrets_provider": backend.secrets_provider,
        "changed": any(step.action != "unchanged" for step in backend.steps),
        "steps": [{"target": step.target, "action": step.action} for step in backend.steps],
    }


def format_text(backend: StateBackend) -> str:
    """Return the steps and the two commands that use the backend as text."""
    steps = "\n".join(f"{step.action:10}{step.target}" for step in backend.steps)
    return (
        f"account {backend.account}, {backend.region}\n{steps}\n\n"
        f"export PULUMI_BACKEND_URL='{backend.url}'\n"
        f"pulumi stack init prod --secrets-provider='{backend.secrets_provider}'"
    )
