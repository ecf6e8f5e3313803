"""The certificate of the gateway, which cert-manager issues and renews."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from pulumi_berth.kubernetes.api_groups import CERTIFICATES
from pulumi_berth.kubernetes.objects import (
    TLS_NAME,
    build_labels,
    build_metadata,
    get_name_after_create,
)


class IssuerKind(StrEnum):
    """Kind of an issuer of cert-manager."""

    ISSUER = "Issuer"
    CLUSTER_ISSUER = "ClusterIssuer"


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    """A certificate for the host names of the stack, issued by cert-manager."""

    issuer: pulumi.Input[str]
    """Name of the issuer."""
    kind: IssuerKind | None = None
    """Kind of the issuer. An `Issuer` is in the stack's namespace. Defaults to `ClusterIssuer`."""


def create_certificate(
    name: str,
    args: CertificateArgs,
    namespace: pulumi.Input[str],
    hostnames: Sequence[pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """Create the certificate. Return the name of the Secret that cert-manager writes."""
    certificate = CustomResource(
        name,
        api_version=f"{CERTIFICATES}/v1",
        kind="Certificate",
        metadata=build_metadata(namespace, TLS_NAME, build_labels("certificate", TLS_NAME)),
        spec={
            "secretName": TLS_NAME,
            "dnsNames": list(hostnames),
            "issuerRef": {
                "group": CERTIFICATES,
                "kind": (args.kind or IssuerKind.CLUSTER_ISSUER).value,
                "name": args.issuer,
            },
        },
        opts=opts,
    )
    return get_name_after_create(certificate, TLS_NAME)
