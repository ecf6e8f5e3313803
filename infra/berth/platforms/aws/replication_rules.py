"""The replication rules of the account's registry, which a stack must not take over.

An account has one list of rules per Region
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html). Setting the rules of a
stack replaces the list, and deleting them empties it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from berth.platforms.aws.access import limit_requests, stack_prefix
from berth.platforms.aws.errors import REQUEST_ERRORS, flatten_error
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from pulumi_berth.aws_identity import read_identity

_CHECK = "replication-rules"


def find_other_rules(rules: Iterable[Mapping[str, Any]], prefix: str) -> list[str]:
    """Return a description of each rule that is not for the repositories of a stack.

    Args:
        rules: The rules as ECR describes them.
        prefix: First part of the names of the stack's repositories.
    """
    found = []
    for rule in rules:
        filters = [one["filter"] for one in rule.get("repositoryFilters", ())]
        if filters != [f"{prefix}/"]:
            regions = ", ".join(one["region"] for one in rule["destinations"])
            names = " and ".join(f"'{one}'" for one in filters) or "all repositories"
            found.append(f"{names} to {regions}")
    return found


def check_rules(context: StackContext, *, for_removal: bool = False) -> Finding:
    """Check that an update or a removal of the stack changes only its own rules.

    Raises:
        SpecError: If the registry has other rules.
    """
    spec = context.spec
    if not spec.registry.replicate_to:
        detail = "registry.replicate_to is empty: the stack sets no rules."
        return Finding(check=_CHECK, status=Status.PASSED, detail=detail)
    prefix, region = stack_prefix(spec.registry.source_stack or context.stack), spec.aws["region"]
    try:
        ecr = read_identity(spec.aws).create_client(
            "ecr", region=str(region), config=limit_requests()
        )
        rules = ecr.describe_registry()["replicationConfiguration"]["rules"]
    except REQUEST_ERRORS as error:
        detail = f"ECR did not report the replication rules of the account: {flatten_error(error)}."
        return Finding(check=_CHECK, status=Status.NOT_CHECKED, detail=detail)
    if others := find_other_rules(rules, prefix):
        effect, advice = (
            ("would empty", "Note them, remove them, delete the stack, and set them again.")
            if for_removal
            else (
                "would replace",
                f"Remove registry.replicate_to and add a rule for '{prefix}/' to the list "
                "yourself, or remove the other rules.",
            )
        )
        raise SpecError.of(
            f"berth:registry.replicate_to: the registry of this account in {region} has "
            f"replication rules that this stack did not set: {'; '.join(others)}. An account has "
            f"one list of rules per Region, and this command {effect} it. Nothing was changed. "
            f"{advice}"
        )
    detail = f"The registry in {region} has no replication rules of others."
    return Finding(check=_CHECK, status=Status.PASSED, detail=detail)
