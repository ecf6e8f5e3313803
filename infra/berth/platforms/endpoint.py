"""The endpoint: where clients outside a cluster reach its gateway."""

import pulumi

from berth.spec import HostingSpec
from pulumi_berth.kubernetes.traefik import Traefik


def endpoint(spec: HostingSpec, api_host: str, controller: Traefik) -> pulumi.Output[str]:
    """The URL under which clients outside reach the gateway."""
    scheme = "https" if spec.kubernetes.tls_secret else "http"
    service = spec.kubernetes.service
    if spec.kubernetes.hostnames:
        name: pulumi.Input[str] = spec.kubernetes.hostnames[0]
    elif service.type == "NodePort":
        name = service.address or api_host
    elif service.type == "LoadBalancer":
        name = controller.service.status.load_balancer.ingress[0].apply(
            lambda ingress: ingress.hostname or ingress.ip
        )
    else:
        name = controller.service.spec.cluster_ip
    return pulumi.Output.all(name=name, port=controller.port).apply(
        lambda known: _url(scheme, known["name"], known["port"])
    )


def _url(scheme: str, name: str, port: float | None) -> str:
    """A preview does not know the port that the cluster will choose."""
    if port == (443 if scheme == "https" else 80):
        return f"{scheme}://{name}"
    return f"{scheme}://{name}:{int(port) if port else '<port>'}"
