"""Certificates, custom domains of an API, and the health check of a Region."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import acm, apigateway, cloudwatch, route53

from pulumi_berth.component_args import parse_args


@dataclass(frozen=True, kw_only=True)
class HostName:
    """A host name, and the ID of the public Route 53 zone that contains it."""

    name: str
    zone_id: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    """Arguments for `Certificate`.

    Attributes:
        host: Host name that the certificate covers.
        region: Region of the certificate; us-east-1 for CloudFront. Defaults to the provider's
            Region.
    """

    host: HostName
    region: str | None = None


class Certificate(pulumi.ComponentResource):
    """A TLS certificate that AWS renews as long as its validation record exists.

    Attributes:
        arn: ARN of the certificate. Known after AWS has validated it.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Certificate", name, None, opts)
        args = parse_args(CertificateArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        certificate = acm.Certificate(
            name,
            domain_name=args.host.name,
            validation_method="DNS",
            region=args.region,
            opts=child_opts,
        )
        validation = certificate.domain_validation_options[0]
        record = route53.Record(
            name,
            zone_id=args.host.zone_id,
            name=validation.resource_record_name.apply(str),
            type=validation.resource_record_type.apply(route53.RecordType),
            records=[validation.resource_record_value.apply(str)],
            ttl=300,
            # Another stack's certificate for the same name uses the same record.
            allow_overwrite=True,
            opts=child_opts,
        )
        valid = acm.CertificateValidation(
            name,
            certificate_arn=certificate.arn,
            validation_record_fqdns=[record.fqdn],
            region=args.region,
            opts=child_opts,
        )
        self.arn = valid.certificate_arn
        self.register_outputs({"arn": self.arn})


@dataclass(frozen=True, kw_only=True)
class RegionHealthArgs:
    """Arguments for `RegionHealth`.

    Attributes:
        region: Region of the load balancer.
        load_balancer: CloudWatch's name of the load balancer (`InternalLoadBalancer.metric_name`).
        target_group: CloudWatch's name of its target group.
    """

    region: str
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]


class RegionHealth(pulumi.ComponentResource):
    """A Route 53 health check that fails while no node behind the load balancer is healthy.

    It reads a CloudWatch alarm. Requests of Route 53 itself carry neither the edge secret nor an
    API key, so the firewall would reject them.

    Attributes:
        check_id: ID of the health check.
    """

    check_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: RegionHealthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:RegionHealth", name, None, opts)
        args = parse_args(RegionHealthArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        alarm = cloudwatch.MetricAlarm(
            name,
            alarm_description="No node behind the load balancer is healthy",
            namespace="AWS/NetworkELB",
            metric_name="HealthyHostCount",
            dimensions={
                "LoadBalancer": args.load_balancer,
                "TargetGroup": args.target_group,
            },
            # The maximum over zones: losing one zone does not fail the Region.
            statistic="Maximum",
            period=60,
            evaluation_periods=2,
            threshold=1,
            comparison_operator="LessThanThreshold",
            treat_missing_data="breaching",
            opts=child_opts,
        )
        check = route53.HealthCheck(
            name,
            type="CLOUDWATCH_METRIC",
            cloudwatch_alarm_name=alarm.name,
            cloudwatch_alarm_region=args.region,
            insufficient_data_health_status="LastKnownStatus",
            opts=child_opts,
        )
        self.check_id = check.id
        self.register_outputs({"check_id": self.check_id})


@dataclass(frozen=True, kw_only=True)
class LatencyRouting:
    """Route 53 latency routing of one Region among several with the same host name.

    Attributes:
        region: Region of the API. Route 53 selects the Region with the lowest latency for a client.
        check_id: ID of the health check. While it fails, Route 53 selects another Region.
    """

    region: str
    check_id: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class ApiDomainArgs:
    """Arguments for `ApiDomain`.

    Attributes:
        host: Host name of the API.
        api_id: ID of the REST API.
        stage: Name of its stage.
        path: First segment of the API's paths.
        routing: Latency routing if several Regions share the host name. Defaults to none.
    """

    host: HostName
    api_id: pulumi.Input[str]
    stage: pulumi.Input[str]
    path: str
    routing: LatencyRouting | None = None


class ApiDomain(pulumi.ComponentResource):
    """A custom domain name in API Gateway with its certificate and DNS record.

    Attributes:
        host: The host name. Known after clients can reach the API there.
    """

    host: pulumi.Output[str]

    def __init__(
        self, name: str, args: ApiDomainArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ApiDomain", name, None, opts)
        args = parse_args(ApiDomainArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        certificate = Certificate(name, CertificateArgs(host=args.host), child_opts)
        domain = apigateway.DomainName(
            name,
            domain_name=args.host.name,
            regional_certificate_arn=certificate.arn,
            security_policy="TLS_1_2",
            endpoint_configuration=apigateway.DomainNameEndpointConfigurationArgs(types="REGIONAL"),
            opts=child_opts,
        )
        mapping = apigateway.BasePathMapping(
            name,
            domain_name=domain.domain_name,
            rest_api=args.api_id,
            stage_name=args.stage,
            base_path=args.path,
            opts=child_opts,
        )
        routing = args.routing
        record = route53.Record(
            name,
            zone_id=args.host.zone_id,
            name=args.host.name,
            type=route53.RecordType.A,
            aliases=[
                route53.RecordAliasArgs(
                    name=domain.regional_domain_name,
                    zone_id=domain.regional_zone_id,
                    evaluate_target_health=False,
                )
            ],
            set_identifier=None if routing is None else routing.region,
            latency_routing_policies=None
            if routing is None
            else [route53.RecordLatencyRoutingPolicyArgs(region=routing.region)],
            health_check_id=None if routing is None else routing.check_id,
            opts=child_opts,
        )
        self.host = pulumi.Output.all(record.fqdn, mapping.id).apply(lambda values: str(values[0]))
        self.register_outputs({"host": self.host})
