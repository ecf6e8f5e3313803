"""The semantics of network policies in Kubernetes, and those of the VPC CNI's policy controller.

The controller resolves a policy's egress peers to addresses. It adds the address of a Service only
if the Service's own selector satisfies the peer's pod selector, because its filter on the pod's
interface sees the address before kube-proxy replaces it:
https://github.com/aws/amazon-network-policy-controller-k8s, `getMatchingServiceClusterIPs` in
pkg/resolvers/endpoints.go, read at commit ecc7e6a (2026-05-18). Reported as issue 224 there, and as
issue 460 of aws/aws-network-policy-agent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"

Rule = Mapping[str, Any]
Selector = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of a container or of a Service; `target` is a number or the name of a container
    port."""

    number: int
    name: str = ""
    protocol: str = "TCP"
    target: int | str = 0


@dataclass(frozen=True, kw_only=True)
class Pods:
    """The pods of one workload."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: Sequence[Port] = ()


@dataclass(frozen=True, kw_only=True)
class Service:
    """A Service with a cluster address."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    ports: Sequence[Port]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A network policy: the pods that it applies to, and its egress rules."""

    namespace: str
    pods: Selector
    egress: Sequence[Rule]


def find_refused_services(
    workloads: Sequence[Pods], services: Sequence[Service], policies: Sequence[Policy]
) -> Iterator[str]:
    """Yield each connection to a Service that Kubernetes allows and the VPC CNI refuses."""
    for source in workloads:
        for service in services:
            for target in workloads:
                if not _selects_service(service, target):
                    continue
                for port in service.ports:
                    container = _find_container_port(target, port)
                    if container is None:
                        continue
                    rules = _find_egress_rules(source, policies)
                    if any(_allows_pod(rule, source, target, container) for rule in rules) and (
                        not any(_allows_service(rule, source, service, port) for rule in rules)
                    ):
                        yield f"{source.name} -> {service.name}:{port.number}/{port.protocol}"


def _selects_service(service: Service, pods: Pods) -> bool:
    is_selected = service.selector.items() <= pods.labels.items()
    return bool(service.selector) and service.namespace == pods.namespace and is_selected


def _find_container_port(pods: Pods, port: Port) -> Port | None:
    """Return the container port behind a port of a Service."""
    for container in pods.ports:
        if port.target in (container.name, container.number) and (
            container.protocol == port.protocol
        ):
            return container
    return None


def _find_egress_rules(source: Pods, policies: Sequence[Policy]) -> list[Rule]:
    return [
        rule
        for policy in policies
        if policy.namespace == source.namespace and _matches(policy.pods, source.labels)
        for rule in policy.egress
    ]


def _matches(selector: Selector | None, labels: Mapping[str, str]) -> bool:
    assert not (selector or {}).get("matchExpressions"), "Berth's policies use labels only"
    wanted: Mapping[str, str] = (selector or {}).get("matchLabels", {})
    return wanted.items() <= labels.items()


def _find_peers(rule: Rule, source: Pods, namespace: str) -> Iterator[Selector | None]:
    """Yield the pod selectors of the rule's peers in a namespace. No peers mean everything."""
    if "to" not in rule:
        yield None
    for peer in rule.get("to", ()):
        selector = peer.get("namespaceSelector")
        if selector is None:
            is_in = namespace == source.namespace
        else:
            is_in = _matches(selector, {_NAMESPACE_LABEL: namespace})
        if is_in and "ipBlock" not in peer:
            yield peer.get("podSelector")


def _allows_pod(rule: Rule, source: Pods, target: Pods, container: Port) -> bool:
    """Return whether the rule allows a connection to the pod's own address."""
    allows_port = "ports" not in rule or any(
        port.get("protocol", "TCP") == container.protocol
        and port.get("port", container.number) in (container.number, container.name)
        for port in rule["ports"]
    )
    peers = _find_peers(rule, source, target.namespace)
    return allows_port and any(_matches(peer, target.labels) for peer in peers)


def _allows_service(rule: Rule, source: Pods, service: Service, port: Port) -> bool:
    """Return whether the controller adds this port of the Service's address to the rule."""
    if "to" not in rule:
        # Everything on these ports: the filter compares the port of the Service.
        return "ports" not in rule or any(
            entry.get("protocol", "TCP") == port.protocol
            and entry.get("port", port.number) == port.number
            for entry in rule["ports"]
        )
    peers = _find_peers(rule, source, service.namespace)
    return any(
        _matches(peer, service.selector)
        and ("ports" not in rule or any(_leads_to(entry, port) for entry in rule["ports"]))
        for peer in peers
    )


def _leads_to(entry: Rule, port: Port) -> bool:
    """Return whether an entry of the rule's ports admits this port of a Service.

    The controller compares the entry with the Service's target port, and then with the container
    port that has the target port's name. The caller has resolved a name to its number.
    """
    return entry.get("protocol", "TCP") == port.protocol and (
        "port" not in entry or entry["port"] == port.target
    )
