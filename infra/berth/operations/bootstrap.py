"""`berth bootstrap`: where the state of aws stacks is kept, before there is any stack.

Not a stack of its own, since that would need a place for its state in turn.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import boto3

from berth.operations.state_bucket import StateBucket
from berth.operations.state_key import ensure_key
from berth.operations.state_step import Step
from berth.platforms.aws.errors import explain_aws_errors

# Two keys: who may read the state of a stack cannot read the secrets in it by that alone.
_STATE_KEY, _SECRETS_KEY = "alias/berth-state", "alias/berth-secrets"
_RIGHTS = "docs/how-to/store-state-in-s3.md"


@dataclass(frozen=True, kw_only=True)
class StateBackend:
    """Where state is kept, and what was done for it."""

    account: str
    region: str
    bucket: str
    steps: list[Step]

    @property
    def url(self) -> str:
        """For PULUMI_BACKEND_URL."""
        return f"s3://{self.bucket}?{urlencode({'region': self.region, 'awssdk': 'v2'})}"

    @property
    def secrets_provider(self) -> str:
        """For `pulumi stack init --secrets-provider`."""
        return f"awskms://{_SECRETS_KEY}?{urlencode({'region': self.region})}"


def bootstrap(*, region: str | None, bucket: str | None) -> StateBackend:
    """Make a bucket for state, and keys for it and for the secrets in it, unless they are there;
    change what is not as it shall be.

    Args:
        region: where; that of AWS's own configuration when None.
        bucket: its name; when None one that has the account and region in it.

    Raises:
        OperationError: AWS refuses, or cannot be asked.
    """
    with explain_aws_errors(_RIGHTS):
        session = boto3.Session(region_name=region)
        s3, kms = session.client("s3"), session.client("kms")
        account = session.client("sts").get_caller_identity()["Account"]
        here = s3.meta.region_name
        name = bucket or f"berth-state-{account}-{here}"
        state = StateBucket(s3=s3, name=name, account=account)
        state.is_there()  # with a name that cannot be had nothing is made, no key either
        key, steps = ensure_key(kms, _STATE_KEY, "Berth: Pulumi's state at rest")
        steps += state.ensure(key)
        steps += ensure_key(kms, _SECRETS_KEY, "Berth: secrets in Pulumi's state")[1]
    return StateBackend(account=account, region=here, bucket=name, steps=steps)


def as_json(backend: StateBackend) -> dict[str, Any]:
    """For machines."""
    return {
        "account": backend.account,
        "region": backend.region,
        "bucket": backend.bucket,
        "backend_url": backend.url,
        "secrets_provider": backend.secrets_provider,
        "changed": any(step.did != "found" for step in backend.steps),
        "steps": [{"what": step.what, "did": step.did} for step in backend.steps],
    }


def as_text(backend: StateBackend) -> str:
    """For a person: what was done, and the two lines to use."""
    done = "\n".join(f"{step.did:8}{step.what}" for step in backend.steps)
    return (
        f"account {backend.account}, {backend.region}\n{done}\n\n"
        f"export PULUMI_BACKEND_URL='{backend.url}'\n"
        f"pulumi stack init prod --secrets-provider='{backend.secrets_provider}'"
    )
