"""The custom resources that Berth declares, against the schemas of their definitions.

The API server removes fields that a definition does not have, so these are errors here. Each file
in `crds` contains the schema of `spec` in version v1 of a definition, without its descriptions.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pulumi
import pytest

from pulumi_berth.hosted_models import (
    ClientArgs,
    ClientQuotaArgs,
    HostedModelArgs,
    HostedVersionArgs,
)
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.kubernetes.certificate import CertificateArgs, IssuerKind, create_certificate
from pulumi_berth.kubernetes.hosting_args import KubernetesHostingArgs
from pulumi_berth.kubernetes.monitoring import create_monitoring
from pulumi_berth.kubernetes.pod_monitors import create_pod_monitors
from tests.unit.component_host import record

_SCHEMAS = Path(__file__).parent / "crds"


def _load_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_SCHEMAS / f"{name}.json").read_text())
    _forbid_unknown_fields(schema["spec"])
    return schema


def _forbid_unknown_fields(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _forbid_unknown_fields(each)
    elif isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
        for each in schema.values():
            _forbid_unknown_fields(each)


def _declare() -> dict[tuple[str, str], Any]:
    def program() -> None:
        opts = pulumi.ResourceOptions()
        create_pod_monitors("berth", {"release": "prometheus"}, has_controller=True, opts=opts)
        hosting = KubernetesHostingArgs(
            namespace="berth",
            models={"digits": HostedModelArgs(versions={"1": HostedVersionArgs(directory="x")})},
            images=ImageSettings(registry="registry.example.com/berth"),
            clients={"partner": ClientArgs(quota=ClientQuotaArgs(requests=100))},
        )
        create_monitoring(hosting, "berth", opts=opts)
        for kind in IssuerKind:
            args = CertificateArgs(issuer="lets-encrypt", kind=kind)
            create_certificate(f"tls-{kind}", args, "berth", ["api.example.com"], opts)

    return record(program)


@pytest.mark.parametrize(
    ("kind", "count"), [("Certificate", 2), ("PodMonitor", 3), ("PrometheusRule", 1)]
)
def test_declared_resources_match_the_definition(kind: str, count: int) -> None:
    schema = _load_schema(kind.lower())
    declared = [inputs for (each, _), inputs in _declare().items() if each == kind]
    assert len(declared) == count
    for inputs in declared:
        assert inputs["apiVersion"] == schema["apiVersion"]
        jsonschema.validate(inputs["spec"], schema["spec"])


def test_misspelled_field_does_not_match_the_definition() -> None:
    with pytest.raises(jsonschema.ValidationError, match="dnsName"):
        jsonschema.validate(
            {"secretName": "tls", "issuerRef": {"name": "x"}, "dnsName": []},
            _load_schema("certificate")["spec"],
        )
