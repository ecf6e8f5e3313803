"""Certificate: TLS for a host name, proven by a record in its Route 53 zone."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import acm, route53


@dataclass(frozen=True, kw_only=True)
class HostName:
    """A host name, and the id of the public Route 53 zone that it lies in."""

    name: str
    zone_id: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    """For what name, and where.

    Attributes:
        host: the name.
        region: of the certificate: us-east-1 for CloudFront; the provider's when None.
    """

    host: HostName
    region: str | None = None


class Certificate(pulumi.ComponentResource):
    """A certificate that AWS renews by itself, as long as the record that proves the name stays.

    Attributes:
        arn: of the certificate, once it is valid.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Certificate", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        certificate = acm.Certificate(
            name,
            domain_name=args.host.name,
            validation_method="DNS",
            region=args.region,
            opts=inside,
        )
        proof = certificate.domain_validation_options[0]
        record = route53.Record(
            name,
            zone_id=args.host.zone_id,
            name=proof.resource_record_name.apply(str),
            type=proof.resource_record_type.apply(route53.RecordType),
            records=[proof.resource_record_value.apply(str)],
            ttl=300,
            # Another stack's certificate for the same name has the same record.
            allow_overwrite=True,
            opts=inside,
        )
        valid = acm.CertificateValidation(
            name,
            certificate_arn=certificate.arn,
            validation_record_fqdns=[record.fqdn],
            region=args.region,
            opts=inside,
        )
        self.arn = valid.certificate_arn
        self.register_outputs({"arn": self.arn})
