"""Each connection that the declared network policies allow also passes the VPC CNI's controller."""

from dataclasses import replace
from typing import Any

import pytest

from tests.aws.reality.declared import Resource, declare, find_resources
from tests.aws.reality.vpc_cni import Pods, Policy, Port, Service, find_refused_services

pytestmark = pytest.mark.slow  # Each stack's program imports the SDK of AWS.

# The DNS Service of a cluster, cluster/addons/dns/coredns/coredns.yaml.base of
# https://github.com/kubernetes/kubernetes.
_DNS_LABELS = {"k8s-app": "kube-dns"}
_DNS_PORTS = [
    Port(number=53, target=53, name="dns", protocol="UDP"),
    Port(number=53, target=53, name="dns-tcp", protocol="TCP"),
]
_DNS = Service(name="kube-dns", namespace="kube-system", selector=_DNS_LABELS, ports=_DNS_PORTS)
_DNS_PODS = Pods(name="coredns", namespace="kube-system", labels=_DNS_LABELS, ports=_DNS_PORTS)


def _read_workloads(resources: list[Resource]) -> list[Pods]:
    kinds = (":Deployment", ":StatefulSet")
    found = [one for kind in kinds for one in find_resources(resources, kind)]
    return [_read_pods(one["name"], one["inputs"]) for one in found if "spec" in one["inputs"]]


def _read_pods(name: str, inputs: dict[str, Any]) -> Pods:
    template = inputs["spec"]["template"]
    return Pods(
        name=name,
        namespace=inputs["metadata"]["namespace"],
        labels=template["metadata"]["labels"],
        ports=[
            Port(number=int(port["containerPort"]), name=port["name"])
            for container in template["spec"]["containers"]
            for port in container.get("ports", ())
        ],
    )


def _read_services(resources: list[Resource], workloads: list[Pods]) -> list[Service]:
    """Return the Services. The name of a target port becomes the number in the selected pods."""
    services = []
    for one in find_resources(resources, "core/v1:Service"):
        selector = one["inputs"]["spec"]["selector"]
        numbers = {
            port.name: port.number
            for pods in workloads
            if selector.items() <= pods.labels.items()
            for port in pods.ports
        }
        ports = [
            Port(
                number=int(port["port"]),
                target=numbers.get(port["targetPort"], port["targetPort"]),
            )
            for port in one["inputs"]["spec"]["ports"]
        ]
        services.append(
            Service(
                name=one["name"],
                namespace=one["inputs"]["metadata"]["namespace"],
                selector=selector,
                ports=ports,
            )
        )
    return services


def _read_policies(resources: list[Resource]) -> list[Policy]:
    return [
        Policy(
            namespace=one["inputs"]["metadata"]["namespace"],
            pods=one["inputs"]["spec"]["podSelector"],
            egress=one["inputs"]["spec"].get("egress", []),
        )
        for one in find_resources(resources, ":NetworkPolicy")
    ]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_each_allowed_service_is_reachable_with_the_vpc_cni(stack: str) -> None:
    resources = declare(stack)
    workloads = _read_workloads(resources)
    services = _read_services(resources, workloads)
    assert {"gateway", "traefik", "digits-1"} <= {pods.name for pods in workloads}
    assert {"gateway", "digits-1", "valkey"} <= {service.name for service in services}
    refused = find_refused_services(
        [*workloads, _DNS_PODS], [*services, _DNS], _read_policies(resources)
    )
    assert list(refused) == []


_LABELS = {"app": "a", "role": "server"}
_TARGET = Pods(name="t", namespace="n", labels=_LABELS, ports=[Port(number=8080, name="http")])
_SOURCE = Pods(name="s", namespace="n", labels={"app": "s"})
_SERVICE = Service(name="t", namespace="n", selector=_LABELS, ports=[Port(number=80, target=8080)])


def _allow(labels: dict[str, str], port: int) -> Policy:
    rule = {"to": [{"podSelector": {"matchLabels": labels}}], "ports": [{"port": port}]}
    return Policy(namespace="n", pods={"matchLabels": {"app": "s"}}, egress=[rule])


def test_selector_without_a_label_of_the_policy_is_refused() -> None:
    service = replace(_SERVICE, selector={"app": "a"})
    refused = find_refused_services([_SOURCE, _TARGET], [service], [_allow(_LABELS, 8080)])
    assert list(refused) == ["s -> t:80/TCP"]


@pytest.mark.parametrize("labels", [_LABELS, {"app": "a"}, {}])
def test_selector_with_all_labels_of_the_policy_is_admitted(labels: dict[str, str]) -> None:
    policies = [_allow(labels, 8080)]
    assert list(find_refused_services([_SOURCE, _TARGET], [_SERVICE], policies)) == []


def test_connection_that_the_policy_forbids_is_not_reported() -> None:
    policies = [_allow(_LABELS, 9090)]
    assert list(find_refused_services([_SOURCE, _TARGET], [_SERVICE], policies)) == []
