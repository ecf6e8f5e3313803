"""Rules for who may use roles and resources: trust policies and resource policies."""

from collections.abc import Iterator

from berth_policy.iam import (
    PolicyFormatError,
    Statement,
    find_accounts,
    get_condition,
    get_principals,
    names_callers,
    read_statements,
)
from berth_policy.rule import UNKNOWN, Resource, Rule, Stack

_ROLES = ("aws:iam/role:Role", "aws-native:iam:Role")
_TRUST_KEYS = ("assumeRolePolicy", "assumeRolePolicyDocument")
_RESOURCE_POLICIES = (
    "aws:backup/vaultPolicy:VaultPolicy",
    "aws:ecr/registryPolicy:RegistryPolicy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy",
    "aws:efs/fileSystemPolicy:FileSystemPolicy",
    "aws:kms/key:Key",
    "aws:kms/keyPolicy:KeyPolicy",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:s3/bucket:Bucket",
    "aws:secretsmanager/secret:Secret",
    "aws:secretsmanager/secretPolicy:SecretPolicy",
    "aws:sns/topic:Topic",
    "aws:sns/topicPolicy:TopicPolicy",
    "aws:sqs/queue:Queue",
    "aws:sqs/queuePolicy:QueuePolicy",
)
_PERMISSION = "aws:lambda/permission:Permission"
_REMEDY = (
    "Name a service, or a principal of the stack's own account (aws:allowedAccountIds). To trust "
    "another account, list it in berth:policy.trusted_accounts."
)


def _check_trust(role: Resource, stack: Stack) -> Iterator[str]:
    for key in _TRUST_KEYS:
        try:
            for statement in read_statements(role.get(key)):
                yield from _check_principals(statement, stack)
                yield from _check_federated(statement)
                if "*" in get_principals(statement, "Service"):
                    yield "every AWS service can assume it"
        except PolicyFormatError as error:
            yield str(error)


def _check_principals(statement: Statement, stack: Stack) -> Iterator[str]:
    if "NotPrincipal" in statement:
        yield "everyone except some can assume it"
    known = stack.own_accounts | stack.trusted_accounts
    for principal in get_principals(statement, "AWS"):
        if "*" in principal and not find_accounts(principal):
            if not names_callers(statement):
                yield "every AWS principal can assume it"
        elif foreign := [one for one in find_accounts(principal) if one not in known]:
            yield f"account {foreign[0]} can assume it, which the configuration does not name"


def _check_federated(statement: Statement) -> Iterator[str]:
    for provider in get_principals(statement, "Federated"):
        if ":saml-provider/" in provider:
            continue  # the provider decides who gets a role; the audience is AWS itself
        subjects = get_condition(statement, ":sub")
        if not subjects:
            issuer = provider.rpartition("oidc-provider/")[2]
            yield f"everyone with a token of {issuer} can assume it"
        elif any(_is_any_subject(subject) for subject in subjects):
            yield f"its condition on the token's subject accepts {', '.join(subjects)}"


def _is_any_subject(subject: str) -> bool:
    """Return whether the pattern accepts subjects of several organizations or namespaces.

    `repo:*` is every repository of GitHub, `system:serviceaccount:*` every pod of the cluster.
    """
    prefix = subject.partition("*")[0]
    return "*" in subject and (
        not prefix
        or prefix.rstrip(":") in ("repo", "system:serviceaccount", "project_path")
        or (prefix.startswith("repo:") and "/" not in prefix)
    )


def _check_resource_policy(resource: Resource, stack: Stack) -> Iterator[str]:
    known = stack.own_accounts | stack.trusted_accounts
    try:
        for statement in read_statements(resource.get("policy")):
            if names_callers(statement):
                continue
            if "NotPrincipal" in statement:
                yield "everyone except some can use it"
            for principal in get_principals(statement, "AWS"):
                accounts = find_accounts(principal)
                if "*" in principal and not accounts:
                    yield "every AWS principal can use it"
                # Without the stack's own accounts, no account can be recognized as foreign.
                elif stack.own_accounts and (foreign := [x for x in accounts if x not in known]):
                    yield f"account {foreign[0]} can use it, which the configuration does not name"
    except PolicyFormatError as error:
        yield str(error)


def _check_permission(permission: Resource, _: Stack) -> Iterator[str]:
    principal = permission.get("principal")
    keys = ("sourceAccount", "sourceArn", "principalOrgId")
    if principal is not UNKNOWN and str(principal) == "*" and not any(map(permission.get, keys)):
        yield "everyone can call the function"


RULES = (
    Rule(
        id="iam-named-principals",
        severity="critical",
        types=_ROLES,
        description="Roles name the principals that can assume them: services, or principals of "
        "accounts that the configuration names. Tokens of an identity provider require a condition "
        "on their subject.",
        remedy=_REMEDY,
        check=_check_trust,
    ),
    Rule(
        id="resource-policy-named-principals",
        severity="critical",
        types=_RESOURCE_POLICIES,
        description="Policies of keys, buckets, topics, queues, secrets and repositories name who "
        "may use them.",
        remedy=_REMEDY,
        check=_check_resource_policy,
    ),
    Rule(
        id="function-named-callers",
        severity="critical",
        types=(_PERMISSION,),
        description="Permissions of Lambda functions name their callers.",
        remedy="Set principal, or source_account and source_arn.",
        check=_check_permission,
    ),
)
