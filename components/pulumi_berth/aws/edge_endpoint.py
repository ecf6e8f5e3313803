"""EdgeEndpoint: CloudFront, which brings the API near its users."""

from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_aws import cloudfront, route53

from pulumi_berth.aws.certificate import Certificate, CertificateArgs, HostName
from pulumi_berth.aws.web_acl import ORIGIN_HEADER

REGION = "us-east-1"
"""Where AWS keeps what belongs to a distribution: its certificate, its firewall."""
# AWS's own policies: nothing is cached; everything that a viewer sent goes on, but for the host.
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
# API Gateway gives up after 29 seconds; CloudFront shall not before it.
_ORIGIN_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class EdgeEndpointArgs:
    """What is behind it, and who reaches it.

    Attributes:
        origin_host: of the API.
        origin_secret: what the API's firewall asks of requests (`WebAclArgs.origin_secret`), so
            that nothing reaches it but through here.
        price_class: where CloudFront answers: `100` is Europe and North America, `200` adds Asia,
            the Middle East and Africa, `all` is everywhere
            (https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PriceClass.html).
        minimum_tls: the lowest version that a client may use, with a host name of its own; for
            CloudFront's own name AWS decides.
        web_acl_arn: of a web ACL for CloudFront.
        host: by which clients reach it; CloudFront's own name when None.
    """

    origin_host: pulumi.Input[str]
    origin_secret: pulumi.Input[str]
    price_class: Literal["100", "200", "all"]
    minimum_tls: Literal["1.2", "1.3"]
    web_acl_arn: pulumi.Input[str]
    host: HostName | None = None


class EdgeEndpoint(pulumi.ComponentResource):
    """A distribution that caches nothing: what it saves is the way, over TLS that ends near the
    client and connections to the API that are open already.

    Attributes:
        url: by which clients reach it.
    """

    url: pulumi.Output[str]

    def __init__(
        self, name: str, args: EdgeEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:EdgeEndpoint", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        headers = _security_headers(name, inside)
        certificate = (
            None
            if args.host is None
            else Certificate(name, CertificateArgs(host=args.host, region=REGION), inside)
        )
        distribution = cloudfront.Distribution(
            name,
            comment=f"berth {pulumi.get_stack()}",
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
                inside, pulumi.ResourceOptions(additional_secret_outputs=["origins"])
            ),
        )
        reached = distribution.domain_name
        if args.host is not None:
            reached = _records(name, args.host, distribution, inside)
        self.url = pulumi.Output.concat("https://", reached)
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


def _security_headers(name: str, opts: pulumi.ResourceOptions) -> cloudfront.ResponseHeadersPolicy:
    """For the browsers among the clients: TLS from now on, no guessing of types, no frames."""
    return cloudfront.ResponseHeadersPolicy(
        name,
        name=f"berth-{pulumi.get_stack()}-{name}",
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


def _records(
    name: str,
    host: HostName,
    distribution: cloudfront.Distribution,
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """The host name, for IPv4 and IPv6."""
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
