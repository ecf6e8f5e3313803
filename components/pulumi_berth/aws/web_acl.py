"""WebAcl: the firewall of an API or a distribution."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import cloudwatch, wafv2

from berth_protocol.headers import API_KEY
from pulumi_berth.aws.logs import LogSettings
from pulumi_berth.component_args import parse_args

ORIGIN_HEADER = "x-origin-verify"
_RATE_WINDOW_SECONDS = 300


class WebAclScope(StrEnum):
    """The kind of resource that a web ACL protects."""

    REGIONAL = "REGIONAL"
    CLOUDFRONT = "CLOUDFRONT"


class RuleMode(StrEnum):
    """What a managed rule group does with a request that it matches."""

    BLOCK = "block"
    COUNT = "count"


@dataclass(frozen=True, kw_only=True)
class WebAclArgs:
    """Arguments for `WebAcl`.

    Attributes:
        stack_name: Name of the stack. It is part of the log group's name.
        scope: `REGIONAL` for an API, or `CLOUDFRONT` for a distribution, in us-east-1.
        rule_groups: Names of AWS managed rule groups
            (https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-list.html).
        mode: Let the managed rule groups block requests, or only count them.
        requests_per_ip: Maximum number of requests from one address in 5 minutes, at least 10.
        logs: Settings of the request log. For a distribution the key must be in us-east-1.
        origin_secret: Required value of the header `x-origin-verify`. If None, it is not required.
    """

    stack_name: str
    scope: WebAclScope
    rule_groups: Sequence[str]
    mode: RuleMode
    requests_per_ip: int
    logs: LogSettings
    origin_secret: pulumi.Input[str] | None = None


class WebAcl(pulumi.ComponentResource):
    """A web ACL that responds with 403 to requests that bypass the edge endpoint, exceed the rate
    limit of their address, or match a managed rule group.

    Attributes:
        arn: ARN of the web ACL.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: WebAclArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:WebAcl", name, None, opts)
        args = parse_args(WebAclArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        region = "us-east-1" if args.scope == WebAclScope.CLOUDFRONT else None
        acl = wafv2.WebAcl(
            name,
            scope=args.scope,
            region=region,
            default_action=wafv2.WebAclDefaultActionArgs(
                allow=wafv2.WebAclDefaultActionAllowArgs()
            ),
            rules=_rules(args),
            visibility_config=_visibility(name),
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(additional_secret_outputs=["rules"])
            ),
        )
        # WAF requires the prefix `aws-waf-logs-`:
        # https://docs.aws.amazon.com/waf/latest/developerguide/logging-cw-logs.html
        log = cloudwatch.LogGroup(
            name,
            name_prefix=f"aws-waf-logs-berth-{args.stack_name}-{name}-",
            retention_in_days=args.logs.days,
            kms_key_id=args.logs.key,
            region=region,
            opts=child_opts,
        )
        wafv2.WebAclLoggingConfiguration(
            name,
            resource_arn=acl.arn,
            log_destination_configs=[log.arn],
            redacted_fields=[
                wafv2.WebAclLoggingConfigurationRedactedFieldArgs(
                    single_header=wafv2.WebAclLoggingConfigurationRedactedFieldSingleHeaderArgs(
                        name=header
                    )
                )
                for header in (API_KEY, ORIGIN_HEADER)
            ],
            region=region,
            opts=child_opts,
        )
        self.arn = acl.arn
        self.register_outputs({"arn": self.arn})


def _rules(args: WebAclArgs) -> list[wafv2.WebAclRuleArgsDict]:
    """Return the rules in the order of evaluation."""
    rules = [
        *([] if args.origin_secret is None else [_edge_rule(args.origin_secret)]),
        _rate_rule(args.requests_per_ip),
        *(_managed_rule(name, args.mode) for name in args.rule_groups),
    ]
    return [{**rule, "priority": priority} for priority, rule in enumerate(rules)]


def _edge_rule(secret: pulumi.Input[str]) -> wafv2.WebAclRuleArgsDict:
    """Block requests without the header that only the edge endpoint can add."""
    return {
        "name": "from-edge",
        "priority": 0,
        "action": {"block": {}},
        "statement": {
            "not_statement": {
                "statements": [
                    {
                        "byte_match_statement": {
                            "field_to_match": {"single_header": {"name": ORIGIN_HEADER}},
                            "positional_constraint": "EXACTLY",
                            "search_string": pulumi.Output.secret(secret),
                            "text_transformations": [{"priority": 0, "type": "NONE"}],
                        }
                    }
                ]
            }
        },
        "visibility_config": _visibility("from-edge"),
    }


def _rate_rule(requests: int) -> wafv2.WebAclRuleArgsDict:
    return {
        "name": "rate",
        "priority": 0,
        "action": {"block": {}},
        "statement": {
            "rate_based_statement": {
                "aggregate_key_type": "IP",
                "limit": requests,
                "evaluation_window_sec": _RATE_WINDOW_SECONDS,
            }
        },
        "visibility_config": _visibility("rate"),
    }


def _managed_rule(name: str, mode: RuleMode) -> wafv2.WebAclRuleArgsDict:
    return {
        "name": name,
        "priority": 0,
        "override_action": {"none": {}} if mode == RuleMode.BLOCK else {"count": {}},
        "statement": {"managed_rule_group_statement": {"name": name, "vendor_name": "AWS"}},
        "visibility_config": _visibility(name),
    }


def _visibility(name: str) -> wafv2.WebAclVisibilityConfigArgsDict:
    """Enable a metric for each rule. Disable request samples, which could contain API keys."""
    return {
        "metric_name": name,
        "cloudwatch_metrics_enabled": True,
        "sampled_requests_enabled": False,
    }
