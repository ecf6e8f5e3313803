"""Rules for the public API: API Gateway and CloudFront."""

import json
from collections.abc import Iterator

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, require_one_of, require_value

_API = "aws:apigateway/restApi:RestApi"
_STAGE = "aws:apigateway/stage:Stage"
_SETTINGS = "aws:apigateway/methodSettings:MethodSettings"
_WEB_ACL_ASSOCIATION = "aws:wafv2/webAclAssociation:WebAclAssociation"
_DISTRIBUTION = "aws:cloudfront/distribution:Distribution"
_METHODS = (
    "get",
    "put",
    "post",
    "delete",
    "patch",
    "head",
    "x-amazon-apigateway-any-method",
)
# Load balancers and operators call these paths. The responses contain no other data.
_PATHS_WITHOUT_KEY = ("/health/",)


def _check_keys(api: Resource, _: Stack) -> Iterator[str]:
    body = api.get("body")
    if not isinstance(body, str):
        return
    for path, methods in json.loads(body).get("paths", {}).items():
        if any(part in path for part in _PATHS_WITHOUT_KEY):
            continue
        for method, operation in methods.items():
            if method in _METHODS and not operation.get("security"):
                yield f"{method.upper()} {path} accepts requests without an API key"


def _check_rate_limit(stage: Resource, stack: Stack) -> Iterator[str]:
    limits = [
        one.get("settings.throttlingRateLimit")
        for one in stack.related(stage, _SETTINGS, "stageName")
        or [one for one in stack.of_type(_SETTINGS) if one.get("restApi") == stage.get("restApi")]
        if one.get("methodPath") == "*/*"
    ]
    if not any(limit is UNKNOWN or (limit or -1) > 0 for limit in limits):
        yield "its methods have no rate limit"


def _check_web_acl(stage: Resource, stack: Stack) -> Iterator[str]:
    if not stack.related(stage, _WEB_ACL_ASSOCIATION, "resourceArn"):
        yield "it has no web ACL"


def _check_https(distribution: Resource, _: Stack) -> Iterator[str]:
    protocol = distribution.get("defaultCacheBehavior.viewerProtocolPolicy")
    if protocol not in ("https-only", "redirect-to-https", UNKNOWN):
        yield "it responds over HTTP"


def _check_tls_version(distribution: Resource, _: Stack) -> Iterator[str]:
    if distribution.get("viewerCertificate.cloudfrontDefaultCertificate") is True:
        return  # AWS decides the version for CloudFront's own host name
    version = distribution.get("viewerCertificate.minimumProtocolVersion")
    if version is not UNKNOWN and not str(version).startswith(("TLSv1.2_", "TLSv1.3_")):
        yield f"its minimum TLS version is {version}"


RULES = (
    Rule(
        id="api-key-required",
        severity="high",
        types=(_API,),
        description="Every method of an API except health checks requires an API key.",
        remedy="Add `security` to the operation in the API's OpenAPI document.",
        check=_check_keys,
    ),
    Rule(
        id="api-logged",
        severity="medium",
        types=(_STAGE,),
        description="APIs write an access log.",
        remedy="Set access_log_settings.",
        check=require_value("accessLogSettings.destinationArn"),
    ),
    Rule(
        id="api-rate-limited",
        severity="high",
        types=(_STAGE,),
        needs_stack=True,
        description="APIs have a rate limit for all clients together.",
        remedy="Declare apigateway.MethodSettings for */* with throttling_rate_limit.",
        check=_check_rate_limit,
    ),
    Rule(
        id="api-firewall",
        severity="high",
        types=(_STAGE,),
        needs_stack=True,
        description="APIs have a web ACL.",
        remedy="Declare a wafv2.WebAclAssociation for the stage.",
        check=_check_web_acl,
    ),
    Rule(
        id="api-tls",
        severity="high",
        types=("aws:apigateway/domainName:DomainName",),
        description="Custom domains of APIs require TLS 1.2 or newer.",
        remedy='Set security_policy to "TLS_1_2".',
        check=require_one_of("securityPolicy", "TLS_1_2"),
    ),
    Rule(
        id="edge-https",
        severity="high",
        types=(_DISTRIBUTION,),
        description="CloudFront distributions respond only over HTTPS.",
        remedy='Set default_cache_behavior.viewer_protocol_policy to "https-only".',
        check=_check_https,
    ),
    Rule(
        id="edge-tls",
        severity="high",
        types=(_DISTRIBUTION,),
        description="CloudFront distributions require TLS 1.2 or newer.",
        remedy='Set viewer_certificate.minimum_protocol_version to "TLSv1.2_2021" or newer.',
        check=_check_tls_version,
    ),
    Rule(
        id="edge-firewall",
        severity="high",
        types=(_DISTRIBUTION,),
        description="CloudFront distributions have a web ACL.",
        remedy="Set web_acl_id.",
        check=require_value("webAclId"),
    ),
)
