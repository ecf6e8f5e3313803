"""The first `up` with credentials and no edits: no name that only another account has.

EKS refuses an access entry for a role that does not exist
(https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2969), a zone that does not exist
fails in the preview, and mail to a reserved domain is lost (https://www.rfc-editor.org/rfc/rfc2606).
"""

import re
from collections.abc import Collection

import pytest

from berth.platforms.aws.preflight_checks import is_reserved
from tests.aws.reality.declared import CONFIGURED, Resource, declare, find_resources

pytestmark = pytest.mark.slow  # Each stack's program imports the SDK of AWS.

_ZONE = re.compile(r"zone (\S+)")


def _find_unknown_names(
    resources: list[Resource], *, roles: Collection[str], zones: Collection[str]
) -> list[str]:
    """Return roles, zones and recipients that the account does not have."""
    unknown = [
        f"role {one['inputs']['principalArn']}"
        for one in find_resources(resources, ":AccessEntry")
        if one["inputs"]["principalArn"].rpartition("/")[2] not in roles
    ]
    for one in find_resources(resources, ":Record"):
        # The offline program answers a look-up of a zone with its name.
        zone = _ZONE.search(str(one["inputs"].get("zoneId", "")))
        if zone is not None and zone[1] not in zones:
            unknown.append(f"zone {zone[1]}")
    recipients = [
        str(one["inputs"]["endpoint"])
        for one in find_resources(resources, ":TopicSubscription")
        if one["inputs"]["protocol"] == "email"
    ] + [
        address
        for one in find_resources(resources, "budget:Budget")
        for entry in one["inputs"].get("notifications", ())
        for address in entry["subscriberEmailAddresses"]
    ]
    return [*unknown, *(f"recipient {one}" for one in sorted(set(recipients)) if is_reserved(one))]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_unchanged_stack_names_nothing_of_another_account(stack: str) -> None:
    assert _find_unknown_names(declare(stack), roles=(), zones=()) == []


def test_names_of_an_account_are_found() -> None:
    resources = declare("dev", **CONFIGURED)
    found = _find_unknown_names(resources, roles=(), zones=())
    assert {one.rpartition("/")[2] for one in found if "role" in one} == {"deployer"}
    assert {"zone example.com", "recipient a@example.com", "recipient b@ml.test"} <= set(found)
    known = _find_unknown_names(resources, roles=["deployer"], zones=["example.com"])
    assert known == ["recipient a@example.com", "recipient b@ml.test"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ml@example.com", True),
        ("ml@mail.example.org", True),
        ("ml@team.test", True),
        ("ml@example.de", False),
        ("ml@myexample.com", False),
    ],
)
def test_reserved_domain_of_a_recipient_is_recognized(address: str, expected: bool) -> None:
    assert is_reserved(address) is expected
