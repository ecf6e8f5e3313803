"""WebAcl: the firewall of an API or a distribution."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pulumi
from pulumi_aws import cloudwatch, wafv2

from berth_protocol.headers import API_KEY
from pulumi_berth.aws.logs import LogSettings
from pulumi_berth.aws.web_acl_plan import (
    ORIGIN_HEADER,
    build_response_bodies,
    build_rules,
    build_visibility,
)
from pulumi_berth.component_args import parse_args


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
        mode: Let the managed rule groups block requests, or only count them. Rules that would match
            valid bodies, such as those above 8,192 bytes, always count.
        logs: Settings of the request log. For a distribution the key must be in us-east-1.
        requests_per_ip: Maximum number of requests from one address in 5 minutes, at least 10.
            Defaults to no limit.
        max_body_bytes: Maximum `Content-Length`, in bytes. Defaults to no limit.
        origin_secret: Required value of the header `x-origin-verify`. If None, it is not required.
            With it, every request has an address of the edge endpoint. The web ACL then has no
            rules that depend on the address: those belong to the web ACL of the edge endpoint.
    """

    stack_name: str
    scope: WebAclScope
    rule_groups: Sequence[str]
    mode: RuleMode
    logs: LogSettings
    requests_per_ip: int | None = None
    max_body_bytes: int | None = None
    origin_secret: pulumi.Input[str] | None = None


class WebAcl(pulumi.ComponentResource):
    """A web ACL in front of an API or a distribution.

    It responds with 413 to bodies that are too large, with 429 to an address that exceeds its rate
    limit, and with 403 to requests that bypass the edge endpoint or match a managed rule group.

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
            rules=_build_rules(args),
            custom_response_bodies=[
                wafv2.WebAclCustomResponseBodyArgs(**body)
                for body in build_response_bodies(args.max_body_bytes)
            ],
            visibility_config=wafv2.WebAclVisibilityConfigArgs(**build_visibility(name)),
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


def _build_rules(args: WebAclArgs) -> list[Any]:
    secret = args.origin_secret
    return build_rules(
        groups=args.rule_groups,
        counts_only=args.mode == RuleMode.COUNT,
        requests_per_ip=args.requests_per_ip,
        max_body_bytes=args.max_body_bytes,
        origin_secret=None if secret is None else pulumi.Output.secret(secret),
    )
