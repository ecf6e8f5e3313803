"""The public way in: API Gateway and CloudFront."""

import json
from collections.abc import Iterator

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, unless, without

_API = "aws:apigateway/restApi:RestApi"
_STAGE = "aws:apigateway/stage:Stage"
_SETTINGS = "aws:apigateway/methodSettings:MethodSettings"
_FIREWALL = "aws:wafv2/webAclAssociation:WebAclAssociation"
_EDGE = "aws:cloudfront/distribution:Distribution"
_METHODS = (
    "get",
    "put",
    "post",
    "delete",
    "patch",
    "head",
    "x-amazon-apigateway-any-method",
)
# Asked by balancers and by people who look whether it is up; they say nothing else.
_OPEN_PATHS = ("/health/",)


def _keys(api: Resource, _: Stack) -> Iterator[str]:
    body = api.at("body")
    if not isinstance(body, str):
        return
    for path, methods in json.loads(body).get("paths", {}).items():
        if any(part in path for part in _OPEN_PATHS):
            continue
        for method, said in methods.items():
            if method in _METHODS and not said.get("security"):
                yield f"{method.upper()} {path} takes requests without an API key"


def _throttled(stage: Resource, stack: Stack) -> Iterator[str]:
    limits = [
        one.at("settings.throttlingRateLimit")
        for one in stack.about(stage, _SETTINGS, "stageName")
        or [one for one in stack.of(_SETTINGS) if one.at("restApi") == stage.at("restApi")]
        if one.at("methodPath") == "*/*"
    ]
    if not any(limit is UNKNOWN or (limit or -1) > 0 for limit in limits):
        yield "its methods take any number of requests"


def _behind_firewall(stage: Resource, stack: Stack) -> Iterator[str]:
    if not stack.about(stage, _FIREWALL, "resourceArn"):
        yield "no web ACL is in front of it"


def _https(edge: Resource, _: Stack) -> Iterator[str]:
    found = edge.at("defaultCacheBehavior.viewerProtocolPolicy")
    if found not in ("https-only", "redirect-to-https", UNKNOWN):
        yield "it answers over HTTP"


def _edge_tls(edge: Resource, _: Stack) -> Iterator[str]:
    if edge.at("viewerCertificate.cloudfrontDefaultCertificate") is True:
        return  # CloudFront's own name: AWS decides
    found = edge.at("viewerCertificate.minimumProtocolVersion")
    if found is not UNKNOWN and not str(found).startswith(("TLSv1.2_", "TLSv1.3_")):
        yield f"it takes TLS from {found}"


RULES = (
    Rule(
        id="api-key-required",
        severity="high",
        types=(_API,),
        says="Every method of an API asks for an API key, health apart.",
        remedy="Give the operation `security` in the API's OpenAPI document.",
        check=_keys,
    ),
    Rule(
        id="api-logged",
        severity="medium",
        types=(_STAGE,),
        says="An API keeps an access log.",
        remedy="Set access_log_settings.",
        check=without("accessLogSettings.destinationArn"),
    ),
    Rule(
        id="api-throttled",
        severity="high",
        types=(_STAGE,),
        whole=True,
        says="An API takes so many requests and no more.",
        remedy="Declare apigateway.MethodSettings for */* with throttling_rate_limit.",
        check=_throttled,
    ),
    Rule(
        id="api-firewall",
        severity="high",
        types=(_STAGE,),
        whole=True,
        says="A web ACL is in front of an API.",
        remedy="Declare a wafv2.WebAclAssociation for the stage.",
        check=_behind_firewall,
    ),
    Rule(
        id="api-tls",
        severity="high",
        types=("aws:apigateway/domainName:DomainName",),
        says="An API's own host name takes TLS 1.2 or newer.",
        remedy='Set security_policy to "TLS_1_2".',
        check=unless("securityPolicy", "TLS_1_2"),
    ),
    Rule(
        id="edge-https",
        severity="high",
        types=(_EDGE,),
        says="A distribution answers over HTTPS alone.",
        remedy='Set default_cache_behavior.viewer_protocol_policy to "https-only".',
        check=_https,
    ),
    Rule(
        id="edge-tls",
        severity="high",
        types=(_EDGE,),
        says="A distribution takes TLS 1.2 or newer.",
        remedy='Set viewer_certificate.minimum_protocol_version to "TLSv1.2_2021" or newer.',
        check=_edge_tls,
    ),
    Rule(
        id="edge-firewall",
        severity="high",
        types=(_EDGE,),
        says="A web ACL is in front of a distribution.",
        remedy="Set web_acl_id.",
        check=without("webAclId"),
    ),
)
