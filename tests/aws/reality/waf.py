"""What AWS WAF does with a request, for the rules that a stack declares.

The rules of the managed groups were read on 2026-11-26, without those that match only attacks
outside the body:
https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-use-case.html
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORBIDDEN = 403
INSPECTED_BYTES = 16 * 1024
"""Bytes of a body that WAF reads for CloudFront and API Gateway, without another setting.
https://docs.aws.amazon.com/waf/latest/developerguide/web-acl-setting-body-inspection-limit.html"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as one web ACL sees it."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"user-agent": "client"})


def _finds(pattern: str) -> Callable[[Request], bool]:
    """Return whether the inspected part of a body contains an example of the rule's matches."""
    expression = re.compile(pattern.encode())
    return lambda request: expression.search(request.body[:INSPECTED_BYTES]) is not None


MANAGED_RULES: dict[str, dict[str, Callable[[Request], bool]]] = {
    "AWSManagedRulesAmazonIpReputationList": {},
    "AWSManagedRulesAnonymousIpList": {},
    "AWSManagedRulesCommonRuleSet": {
        "NoUserAgent_HEADER": lambda request: "user-agent" not in request.headers,
        # The rule's own limit. A larger inspection limit does not change it.
        "SizeRestrictions_BODY": lambda request: len(request.body) > 8 * 1024,
        "EC2MetaDataSSRF_BODY": _finds(r"169\.254\.169\.254"),
        "GenericLFI_BODY": _finds(r"\.\./\.\./"),
        "GenericRFI_BODY": _finds(r"https?://[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+"),
        "CrossSiteScripting_BODY": _finds("<script>"),
    },
    "AWSManagedRulesKnownBadInputsRuleSet": {
        "JavaDeserializationRCE_BODY": _finds(r"java\.lang\.Runtime"),
        "Log4JRCE_BODY": _finds(r"\$\{jndi:"),
    },
    "AWSManagedRulesSQLiRuleSet": {
        "SQLi_BODY": _finds("' OR 1=1"),
        "SQLiExtendedPatterns_BODY": _finds("UNION SELECT"),
    },
    "AWSManagedRulesLinuxRuleSet": {},
    "AWSManagedRulesUnixRuleSet": {"UNIXShellCommandsVariables_BODY": _finds(r"echo \$HOME")},
}
"""Group -> rule -> whether it matches. A matching rule blocks, unless the web ACL overrides it."""

ADDRESS_GROUPS = ("AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesAnonymousIpList")
"""Groups that compare the address of the connection with lists.
https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-ip-rep.html"""


def find_status(rules: Sequence[Mapping[str, Any]], request: Request) -> int | None:
    """Return the status with which the rules end a request, or None if they let it pass.

    Rules of rates and of the header of the edge endpoint are not evaluated.
    """
    for rule in sorted(rules, key=lambda rule: float(rule["priority"])):
        statement = rule["statement"]
        if (group := statement.get("managedRuleGroupStatement")) is not None:
            if "none" in rule["overrideAction"] and any(_find_blocking(group, request)):
                return FORBIDDEN
        elif (regex := statement.get("regexMatchStatement")) is not None:
            header = regex["fieldToMatch"]["singleHeader"]["name"]
            value = request.headers.get(header)
            if value is not None and re.search(regex["regexString"], value):
                return _read_status(rule)
    return None


def _find_blocking(group: Mapping[str, Any], request: Request) -> Iterator[str]:
    overrides = group.get("ruleActionOverrides", ())
    counted = {one["name"] for one in overrides if "count" in one["actionToUse"]}
    for name, matches in MANAGED_RULES[group["name"]].items():
        if name not in counted and matches(request):
            yield name


def _read_status(rule: Mapping[str, Any]) -> int | None:
    block = rule["action"].get("block")
    if block is None:
        return None
    return int(block.get("customResponse", {}).get("responseCode", FORBIDDEN))


def find_address_rules(rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rules whose result depends on the address of the connection or on a header that
    clients can set."""
    names = []
    for rule in rules:
        statement = rule["statement"]
        group = statement.get("managedRuleGroupStatement", {}).get("name")
        if "rateBasedStatement" in statement or group in ADDRESS_GROUPS:
            names.append(str(rule["name"]))
    return names


def find_rates(rules: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return the requests of an address and the seconds in which it may send them, of each rule."""
    statements = [rule["statement"].get("rateBasedStatement") for rule in rules]
    return [(float(one["limit"]), float(one["evaluationWindowSec"])) for one in statements if one]
