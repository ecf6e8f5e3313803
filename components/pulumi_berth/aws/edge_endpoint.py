"""EdgeEndpoint: a CloudFront distribution in front of the API."""

from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import cloudfront, route53

from pulumi_berth.aws.custom_domain import Certificate, CertificateArgs, HostName
from pulumi_berth.aws.web_acl_plan import ORIGIN_HEADER
from pulumi_berth.component_args import parse_args

REGION = "us-east-1"
"""The Region of a distribution's certificate, web ACL and logs."""
# AWS managed policies: cache nothing, and forward everything from the viewer except the host.
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html
_CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-origin-request-policies.html
_ALL_VIEWER_EXCEPT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/secure-connections-supported-viewer-protocols-ciphers.html
_TLS = {"1.2": "TLSv1.2_2021", "1.3": "TLSv1.3_2025"}
_PRICE_CLASSES = {"100": "PriceClass_100", "200": "PriceClass_200", "all": "PriceClass_All"}
_METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]
_YEAR = 365 * 24 * 3600
_ORIGIN = "api"
# API Gateway times out after 29 seconds. CloudFront must not time out first.
_ORIGIN_SECONDS = 30


class PriceClass(StrEnum):
    """The locations of CloudFront that serve clients."""

    CLASS_100 = "100"
    CLASS_200 = "200"
    ALL = "all"


class TlsVersion(StrEnum):
    """A minimum TLS version."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, kw_only=True)
class EdgeEndpointArgs:
    """Arguments for `EdgeEndpoint`.

    Attributes:
        stack_name: Name of the stack. It is part of the names of AWS resources.
        origin_host: Host name of the API.
        origin_secret: Header value that the API's firewall requires (`WebAclArgs.origin_secret`),
            so that CloudFront is the only way to reach the API.
        price_class: Locations of CloudFront: `100` is Europe and North America, `200` adds Asia,
            the Middle East and Africa, `all` is worldwide
            (https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PriceClass.html).
        minimum_tls: Minimum TLS version of clients. It applies only with `host`; AWS decides for
            CloudFront's own host name.
        web_acl_arn: ARN of a web ACL with the scope `CLOUDFRONT`.
        host: Host name of the endpoint. Defaults to CloudFront's own host name.
    """

    stack_name: str
    origin_host: pulumi.Input[str]
    origin_secret: pulumi.Input[str]
    price_class: PriceClass
    minimum_tls: TlsVersion
    web_acl_arn: pulumi.Input[str]
    host: HostName | None = None


class EdgeEndpoint(pulumi.ComponentResource):
    """A CloudFront distribution without a cache.

    It shortens the way: TLS ends near the client, and connections to the API stay open.

    Attributes:
        url: URL of the endpoint.
    """

    url: pulumi.Output[str]

    def __init__(
        self, name: str, args: EdgeEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:EdgeEndpoint", name, None, opts)
        args = parse_args(EdgeEndpointArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        headers = _security_headers(f"berth-{args.stack_name}-{name}", name, child_opts)
        certificate = (
            None
            if args.host is None
            else Certificate(name, CertificateArgs(host=args.host, region=REGION), child_opts)
        )
        distribution = cloudfront.Distribution(
            name,
            comment=f"berth {args.stack_name}",
            enabled=True,
            is_ipv6_enabled=True,
            http_version="http2and3",
            price_class=_PRICE_CLASSES[args.price_class],
            aliases=[] if args.host is None else [args.host.name],
            web_acl_id=args.web_acl_arn,
            origins=[_origin(args)],
            default_cache_behavior=cloudfront.DistributionDefaultCacheBehaviorArgs(
                target_origin_id=_ORIGIN,
                viewer_protocol_policy="https-only",
                allowed_methods=_METHODS,
                cached_methods=["GET", "HEAD"],
                cache_policy_id=_CACHING_DISABLED,
                origin_request_policy_id=_ALL_VIEWER_EXCEPT_HOST,
                response_headers_policy_id=headers.id,
                compress=True,
            ),
            restrictions=cloudfront.DistributionRestrictionsArgs(
                geo_restriction=cloudfront.DistributionRestrictionsGeoRestrictionArgs(
                    restriction_type="none"
                )
            ),
            viewer_certificate=_viewer_certificate(args, certificate),
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(additional_secret_outputs=["origins"])
            ),
        )
        host = distribution.domain_name
        if args.host is not None:
            host = _create_records(name, args.host, distribution, child_opts)
        self.url = pulumi.Output.concat("https://", host)
        self.register_outputs({"url": self.url})


def _origin(args: EdgeEndpointArgs) -> cloudfront.DistributionOriginArgs:
    return cloudfront.DistributionOriginArgs(
        origin_id=_ORIGIN,
        domain_name=args.origin_host,
        custom_origin_config=cloudfront.DistributionOriginCustomOriginConfigArgs(
            http_port=80,
            https_port=443,
            origin_protocol_policy="https-only",
            origin_ssl_protocols=["TLSv1.2"],
            origin_read_timeout=_ORIGIN_SECONDS,
            origin_keepalive_timeout=60,
        ),
        custom_headers=[
            cloudfront.DistributionOriginCustomHeaderArgs(
                name=ORIGIN_HEADER, value=pulumi.Output.secret(args.origin_secret)
            )
        ],
    )


def _viewer_certificate(
    args: EdgeEndpointArgs, certificate: Certificate | None
) -> cloudfront.DistributionViewerCertificateArgs:
    if certificate is None:
        return cloudfront.DistributionViewerCertificateArgs(cloudfront_default_certificate=True)
    return cloudfront.DistributionViewerCertificateArgs(
        acm_certificate_arn=certificate.arn,
        ssl_support_method="sni-only",
        minimum_protocol_version=_TLS[args.minimum_tls],
    )


def _security_headers(
    policy_name: str, name: str, opts: pulumi.ResourceOptions
) -> cloudfront.ResponseHeadersPolicy:
    """Create response headers for browsers: require TLS, no type sniffing, no frames."""
    return cloudfront.ResponseHeadersPolicy(
        name,
        name=policy_name,
        security_headers_config={
            "strict_transport_security": {
                "access_control_max_age_sec": _YEAR,
                "include_subdomains": False,
                "override": True,
            },
            "content_type_options": {"override": True},
            "frame_options": {"frame_option": "DENY", "override": True},
            "referrer_policy": {"referrer_policy": "no-referrer", "override": True},
        },
        opts=opts,
    )


def _create_records(
    name: str,
    host: HostName,
    distribution: cloudfront.Distribution,
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """Create the DNS records for IPv4 and IPv6."""
    records = [
        route53.Record(
            f"{name}-{kind.value.lower()}",
            zone_id=host.zone_id,
            name=host.name,
            type=kind,
            aliases=[
                route53.RecordAliasArgs(
                    name=distribution.domain_name,
                    zone_id=distribution.hosted_zone_id,
                    evaluate_target_health=False,
                )
            ],
            opts=opts,
        )
        for kind in (route53.RecordType.A, route53.RecordType.AAAA)
    ]
    return pulumi.Output.all(*(record.fqdn for record in records)).apply(
        lambda names: str(names[0])
    )
