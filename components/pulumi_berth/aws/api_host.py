"""ApiHost: an API under a host name of one's own, alone or as the nearest of several."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import apigateway, route53

from pulumi_berth.aws.certificate import Certificate, CertificateArgs, HostName


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """How one region of several is found under one name.

    Attributes:
        region: of the API: Route 53 answers with the one that the client has the lowest latency to.
        check_id: of the health check; while it fails, the other regions answer.
    """

    region: str
    check_id: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class ApiHostArgs:
    """What is found under which name.

    Attributes:
        host: the name.
        api_id, stage, path: the API's stage, and the first part of its paths.
        nearest: how it is found where several regions have the name; None for the only one.
    """

    host: HostName
    api_id: pulumi.Input[str]
    stage: pulumi.Input[str]
    path: str
    nearest: Nearest | None = None


class ApiHost(pulumi.ComponentResource):
    """Certificate, the name in API Gateway, and its record.

    Attributes:
        host: the name, once clients find the API there.
    """

    host: pulumi.Output[str]

    def __init__(
        self, name: str, args: ApiHostArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ApiHost", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        certificate = Certificate(name, CertificateArgs(host=args.host), inside)
        domain = apigateway.DomainName(
            name,
            domain_name=args.host.name,
            regional_certificate_arn=certificate.arn,
            security_policy="TLS_1_2",
            endpoint_configuration=apigateway.DomainNameEndpointConfigurationArgs(types="REGIONAL"),
            opts=inside,
        )
        mapping = apigateway.BasePathMapping(
            name,
            domain_name=domain.domain_name,
            rest_api=args.api_id,
            stage_name=args.stage,
            base_path=args.path,
            opts=inside,
        )
        nearest = args.nearest
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
            set_identifier=None if nearest is None else nearest.region,
            latency_routing_policies=None
            if nearest is None
            else [route53.RecordLatencyRoutingPolicyArgs(region=nearest.region)],
            health_check_id=None if nearest is None else nearest.check_id,
            opts=inside,
        )
        self.host = pulumi.Output.all(record.fqdn, mapping.id).apply(lambda known: str(known[0]))
        self.register_outputs({"host": self.host})
