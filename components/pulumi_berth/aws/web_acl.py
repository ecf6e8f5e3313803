"""WebAcl: the firewall before an API or a distribution."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_aws import cloudwatch, wafv2

from berth_protocol.headers import API_KEY
from pulumi_berth.aws.log_group import LogSettings

ORIGIN_HEADER = "x-origin-verify"
_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class WebAclArgs:
    """What passes.

    Attributes:
        scope: `REGIONAL` for an API; `CLOUDFRONT` for a distribution, which is kept in us-east-1.
        rule_sets: AWS's managed rule sets, by name
            (https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-list.html).
        mode: whether those block, or only count, what they match.
        requests_per_ip: of one address in 5 minutes, 10 or more; beyond that it is blocked.
        logs: how the log of requests is kept; a key for a distribution is one of us-east-1.
        origin_secret: what requests must have in the header `x-origin-verify`; None for any.
    """

    scope: Literal["REGIONAL", "CLOUDFRONT"]
    rule_sets: Sequence[str]
    mode: Literal["block", "count"]
    requests_per_ip: int
    logs: LogSettings
    origin_secret: pulumi.Input[str] | None = None


class WebAcl(pulumi.ComponentResource):
    """Requests that did not come through the edge, that come too often, or that a managed rule set
    knows as bad are answered 403.

    Attributes:
        arn: of the web ACL.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: WebAclArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:WebAcl", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        region = "us-east-1" if args.scope == "CLOUDFRONT" else None
        acl = wafv2.WebAcl(
            name,
            scope=args.scope,
            region=region,
            default_action=wafv2.WebAclDefaultActionArgs(
                allow=wafv2.WebAclDefaultActionAllowArgs()
            ),
            rules=_rules(args),
            visibility_config=_visible(name),
            opts=pulumi.ResourceOptions.merge(
                inside, pulumi.ResourceOptions(additional_secret_outputs=["rules"])
            ),
        )
        # The first part of the name is what WAF asks for:
        # https://docs.aws.amazon.com/waf/latest/developerguide/logging-cw-logs.html
        log = cloudwatch.LogGroup(
            name,
            name_prefix=f"aws-waf-logs-berth-{pulumi.get_stack()}-{name}-",
            retention_in_days=args.logs.days,
            kms_key_id=args.logs.key,
            region=region,
            opts=inside,
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
            opts=inside,
        )
        self.arn = acl.arn
        self.register_outputs({"arn": self.arn})


def _rules(args: WebAclArgs) -> list[wafv2.WebAclRuleArgsDict]:
    """In the order in which they are asked."""
    rules = [
        *([] if args.origin_secret is None else [_from_edge(args.origin_secret)]),
        _rate(args.requests_per_ip),
        *(_managed(name, args.mode) for name in args.rule_sets),
    ]
    return [{**rule, "priority": priority} for priority, rule in enumerate(rules)]


def _from_edge(secret: pulumi.Input[str]) -> wafv2.WebAclRuleArgsDict:
    """Nothing passes without the header that the edge adds, whose value nobody else knows."""
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
        "visibility_config": _visible("from-edge"),
    }


def _rate(requests: int) -> wafv2.WebAclRuleArgsDict:
    return {
        "name": "rate",
        "priority": 0,
        "action": {"block": {}},
        "statement": {
            "rate_based_statement": {
                "aggregate_key_type": "IP",
                "limit": requests,
                "evaluation_window_sec": _SECONDS,
            }
        },
        "visibility_config": _visible("rate"),
    }


def _managed(name: str, mode: str) -> wafv2.WebAclRuleArgsDict:
    return {
        "name": name,
        "priority": 0,
        "override_action": {"none": {}} if mode == "block" else {"count": {}},
        "statement": {"managed_rule_group_statement": {"name": name, "vendor_name": "AWS"}},
        "visibility_config": _visible(name),
    }


def _visible(name: str) -> wafv2.WebAclVisibilityConfigArgsDict:
    """A metric for each rule; no samples of requests, which could have keys in them."""
    return {
        "metric_name": name,
        "cloudwatch_metrics_enabled": True,
        "sampled_requests_enabled": False,
    }
