"""The rules of a web ACL, as plain data."""

from collections.abc import Sequence
from typing import Any

from berth_protocol.headers import RETRY_AFTER

ORIGIN_HEADER = "x-origin-verify"
"""Header by which the API's web ACL recognizes requests of the edge endpoint."""
RATE_WINDOW_SECONDS = 300
TOO_LARGE, TOO_MANY = "too-large", "too-many"
"""Names of the response bodies, in the form of the gateway's errors."""

# Rule groups that compare the address of the connection with lists of addresses.
_ADDRESS_GROUPS = ("AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesAnonymousIpList")
# Managed rules that match valid inference requests. A body is data for a model: it may be larger
# than the 8,192 bytes of SizeRestrictions_BODY, and text in it may look like a script, a path or a
# command, which no part of Berth runs. Programs need not send a User-Agent.
# Rules of each group, read 2026-11-26; WAF ignores the name of a rule that a group does not have:
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-use-case.html
# https://docs.aws.amazon.com/waf/latest/APIReference/API_RuleActionOverride.html
_COUNTED_RULES = {
    "AWSManagedRulesCommonRuleSet": (
        "CrossSiteScripting_BODY",
        "EC2MetaDataSSRF_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "NoUserAgent_HEADER",
        "SizeRestrictions_BODY",
    ),
    "AWSManagedRulesKnownBadInputsRuleSet": (
        "JavaDeserializationRCE_BODY",
        "Log4JRCE_BODY",
        "ReactJSRCE_BODY",
    ),
    "AWSManagedRulesSQLiRuleSet": ("SQLiExtendedPatterns_BODY", "SQLi_BODY"),
    "AWSManagedRulesUnixRuleSet": ("UNIXShellCommandsVariables_BODY",),
}


def build_rules(
    *,
    groups: Sequence[str],
    counts_only: bool,
    requests_per_ip: int | None,
    max_body_bytes: int | None,
    origin_secret: Any,
) -> list[dict[str, Any]]:
    """Return the rules in the order of evaluation.

    Behind the edge endpoint, every connection comes from an address of CloudFront, and clients can
    choose the first address of `X-Forwarded-For`, the only one that WAF compares
    (https://docs.aws.amazon.com/waf/latest/APIReference/API_ForwardedIPConfig.html). There, rules
    that depend on an address are left out: the web ACL of the edge endpoint has them.

    Args:
        groups: Names of AWS managed rule groups.
        counts_only: Whether the groups only count requests.
        requests_per_ip: Requests of an address in 5 minutes. None for no limit.
        max_body_bytes: Size of the largest body. None for no limit.
        origin_secret: Value of `x-origin-verify`, a secret. None without an edge endpoint.
    """
    is_behind_edge = origin_secret is not None
    rules = [
        *([_edge_rule(origin_secret)] if is_behind_edge else []),
        *([] if max_body_bytes is None else [_size_rule(max_body_bytes)]),
        *([] if is_behind_edge or requests_per_ip is None else [_rate_rule(requests_per_ip)]),
        *(
            _managed_rule(group, counts_only=counts_only)
            for group in groups
            if not (is_behind_edge and group in _ADDRESS_GROUPS)
        ),
    ]
    return [{**rule, "priority": priority} for priority, rule in enumerate(rules)]


def build_response_bodies(max_body_bytes: int | None) -> list[dict[str, Any]]:
    """Return the bodies of the responses 413 and 429."""
    texts = {TOO_MANY: "Too many requests from this address. Retry after 60 s."}
    if max_body_bytes is not None:
        texts[TOO_LARGE] = f"The request body exceeds {max_body_bytes} bytes."
    return [
        {
            "key": key,
            "content_type": "APPLICATION_JSON",
            "content": f'{{"error": "{text}"}}',
        }
        for key, text in sorted(texts.items())
    ]


def build_excess_pattern(limit: int) -> str:
    """Return a regular expression for the decimal numbers that exceed `limit`.

    WAF has no comparison of numbers, and reads at most 64 KiB of a body
    (https://docs.aws.amazon.com/waf/latest/developerguide/web-acl-setting-body-inspection-limit.html),
    so a rule for larger bodies must read the header `Content-Length`.
    """
    digits = str(limit)
    longer = f"[1-9][0-9]{{{len(digits)},}}"
    larger = [
        f"{digits[:index]}{_digits_above(int(digit))}[0-9]{{{len(digits) - index - 1}}}"
        for index, digit in enumerate(digits)
        if digit != "9"
    ]
    return f"^0*(?:{'|'.join([longer, *larger])})$"


def _digits_above(digit: int) -> str:
    return "9" if digit == 8 else f"[{digit + 1}-9]"


def _edge_rule(secret: Any) -> dict[str, Any]:
    """Block requests without the header that only the edge endpoint can add."""
    header = _match_header(ORIGIN_HEADER)
    statement = {
        "byte_match_statement": {
            **header,
            "positional_constraint": "EXACTLY",
            "search_string": secret,
        }
    }
    return _rule("from-edge", {"not_statement": {"statements": [statement]}}, {"block": {}})


def _size_rule(limit: int) -> dict[str, Any]:
    """Respond with 413 to requests whose `Content-Length` exceeds the limit."""
    statement = {
        "regex_match_statement": {
            **_match_header("content-length"),
            "regex_string": build_excess_pattern(limit),
        }
    }
    return _rule("body-size", statement, _respond(413, TOO_LARGE))


def _rate_rule(requests: int) -> dict[str, Any]:
    """Respond with 429 to an address that exceeds its allowance."""
    statement = {
        "rate_based_statement": {
            "aggregate_key_type": "IP",
            "limit": requests,
            "evaluation_window_sec": RATE_WINDOW_SECONDS,
        }
    }
    headers = [{"name": RETRY_AFTER, "value": "60"}]
    return _rule("rate", statement, _respond(429, TOO_MANY, headers))


def _managed_rule(group: str, *, counts_only: bool) -> dict[str, Any]:
    counted = [
        {"name": rule, "action_to_use": {"count": {}}} for rule in _COUNTED_RULES.get(group, ())
    ]
    statement = {
        "managed_rule_group_statement": {
            "name": group,
            "vendor_name": "AWS",
            **({"rule_action_overrides": counted} if counted else {}),
        }
    }
    return {
        "name": group,
        "override_action": {"count": {}} if counts_only else {"none": {}},
        "statement": statement,
        "visibility_config": build_visibility(group),
    }


def _match_header(name: str) -> dict[str, Any]:
    return {
        "field_to_match": {"single_header": {"name": name}},
        "text_transformations": [{"priority": 0, "type": "NONE"}],
    }


def _respond(status: int, body: str, headers: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """Return an action that ends the request with a status that WAF supports.

    https://docs.aws.amazon.com/waf/latest/developerguide/customizing-the-response-status-codes.html
    """
    response: dict[str, Any] = {"response_code": status, "custom_response_body_key": body}
    if headers:
        response["response_headers"] = list(headers)
    return {"block": {"custom_response": response}}


def _rule(name: str, statement: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "action": action,
        "statement": statement,
        "visibility_config": build_visibility(name),
    }


def build_visibility(name: str) -> dict[str, Any]:
    """Enable a metric for each rule. Disable request samples, which could contain API keys."""
    return {
        "metric_name": name,
        "cloudwatch_metrics_enabled": True,
        "sampled_requests_enabled": False,
    }
