"""The AWS identity of a stack: the one that Pulumi's provider `aws` uses, for every other client.

A stack can select a profile and roles to assume (`aws:profile`, `aws:assumeRoles`). The cluster's
token, the login to the registry and Berth's own requests must then use the same identity: an
account may not have the repositories, and a cluster admits only the identity that created it.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IDENTITY_SETTINGS = ("profile", "assumeRoles", "endpoints")
"""Settings of the AWS provider that an identity consists of."""
STACK_TAG = "berth:stack"
"""Tag of everything that belongs to a stack. Its value is the stack's name."""
# Fields of https://www.pulumi.com/registry/packages/aws/api-docs/provider/#providerassumerole and
# their names in sts:AssumeRole.
_ROLE_FIELDS = {
    "roleArn": "RoleArn",
    "externalId": "ExternalId",
    "policy": "Policy",
    "sourceIdentity": "SourceIdentity",
    "transitiveTagKeys": "TransitiveTagKeys",
}
_SESSION_NAME = "berth"
# Services whose name in the provider's setting `endpoints` differs from that in boto3.
_ENDPOINT_NAMES = {"ce": "costexplorer", "service-quotas": "servicequotas"}

_lock = threading.Lock()
_current: "AwsIdentity | None" = None


@dataclass(frozen=True, kw_only=True)
class AwsIdentity:
    """Credentials that boto3 finds by itself, a profile, or roles that these may assume.

    Attributes:
        profile: Name of a profile in the AWS configuration. None for boto3's own order.
        roles: Roles that are assumed one after the other, as arguments of sts:AssumeRole.
        endpoints: URL of a service, by its name in boto3, instead of AWS's own.
    """

    profile: str | None = None
    roles: tuple[Mapping[str, Any], ...] = ()
    endpoints: Mapping[str, str] | None = None
    _sessions: dict[str | None, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    # boto3 does not allow that threads create clients of one session at the same time.
    _clients_lock: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False, compare=False
    )

    def open_session(self, region: str | None = None) -> Any:
        """Return a boto3 session whose credentials are renewed before they expire.

        Raises:
            BotoCoreError: If the profile does not exist, or there are no credentials with which to
                assume the roles.
        """
        import boto3
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
        from botocore.exceptions import NoCredentialsError
        from botocore.session import Session

        session = boto3.Session(profile_name=self.profile, region_name=region)
        for role in self.roles:
            source, credentials = session, session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            core = Session(profile=self.profile)
            fetcher = AssumeRoleCredentialFetcher(
                client_creator=_create_clients(source, self.endpoints),
                source_credentials=credentials,
                role_arn=role["RoleArn"],
                extra_args={key: value for key, value in role.items() if key != "RoleArn"},
            )
            # botocore has no public way to set credentials that renew themselves.
            core._credentials = DeferredRefreshableCredentials(
                fetcher.fetch_credentials, method="assume-role"
            )
            session = boto3.Session(botocore_session=core, region_name=source.region_name)
        return session

    def create_client(self, service: str, *, region: str | None = None, config: Any = None) -> Any:
        """Return a client of a service with this identity and the stack's endpoint.

        All clients in a Region use one session, so that a role is assumed only once.
        """
        url = (self.endpoints or {}).get(service)
        with self._clients_lock:
            if region not in self._sessions:
                self._sessions[region] = self.open_session(region)
            return self._sessions[region].client(service, endpoint_url=url, config=config)

    def describe(self) -> dict[str, Any]:
        """Return the identity as a JSON document without secrets; see `parse_identity`."""
        document: dict[str, Any] = {}
        if self.profile is not None:
            document["profile"] = self.profile
        if self.roles:
            document["roles"] = [dict(role) for role in self.roles]
        if self.endpoints:
            document["endpoints"] = dict(self.endpoints)
        return document


def _create_clients(session: Any, endpoints: Mapping[str, str] | None) -> Any:
    """Return what botocore calls for a client of STS with the source's credentials."""

    def create(service: str, **credentials: Any) -> Any:
        url = (endpoints or {}).get(service)
        return session.client(service, endpoint_url=url, **credentials)

    return create


def parse_identity(document: Mapping[str, Any]) -> AwsIdentity:
    """Return the identity that `AwsIdentity.describe` returned as a document."""
    return AwsIdentity(
        profile=document.get("profile"),
        roles=tuple(document.get("roles", ())),
        endpoints=document.get("endpoints"),
    )


def read_identity(settings: Mapping[str, Any]) -> AwsIdentity:
    """Return the identity of a stack.

    Args:
        settings: Settings of the AWS provider without their prefix, such as `profile`. Pulumi
            passes lists as JSON text.
    """
    endpoints = {
        service: url
        for entry in _decode(settings.get("endpoints")) or ()
        for service, url in _rename(entry).items()
    }
    return AwsIdentity(
        profile=settings.get("profile"),
        roles=tuple(_build_role(role) for role in _decode(settings.get("assumeRoles")) or ()),
        endpoints=endpoints or None,
    )


def _decode(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _rename(entry: Mapping[str, str]) -> dict[str, str]:
    names = {ours: theirs for theirs, ours in _ENDPOINT_NAMES.items()}
    return {names.get(service, service): url for service, url in entry.items()}


def _build_role(role: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of sts:AssumeRole for one role of the provider's setting."""
    arguments = {_ROLE_FIELDS[key]: role[key] for key in _ROLE_FIELDS if role.get(key)}
    arguments["RoleSessionName"] = role.get("sessionName") or _SESSION_NAME
    if role.get("policyArns"):
        arguments["PolicyArns"] = [{"arn": arn} for arn in role["policyArns"]]
    if role.get("tags"):
        arguments["Tags"] = [{"Key": key, "Value": value} for key, value in role["tags"].items()]
    return arguments


def use_identity(settings: Mapping[str, Any]) -> None:
    """Use the identity of a stack for all further requests of this process.

    Providers and image builds of a stack run in processes that work on one stack only.
    """
    global _current
    with _lock:
        _current = read_identity(settings)


def get_identity() -> AwsIdentity:
    """Return the identity of this process. It defaults to the credentials that boto3 finds."""
    return _current or AwsIdentity()
