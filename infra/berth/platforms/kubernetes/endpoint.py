"""The endpoint: the URL at which clients outside a cluster reach its gateway."""

import pulumi

from berth.spec import HostingSpec
from pulumi_berth.kubernetes.traefik import Traefik


def build_endpoint(spec: HostingSpec, api_host: str, traefik: Traefik | None) -> pulumi.Output[str]:
    """Return the URL at which clients outside the cluster reach the gateway.

    Args:
        api_host: Host of the cluster's API. It is the default address of a node port.
        traefik: The stack's own ingress controller, which must exist.
    """
    assert traefik is not None
    scheme = "https" if spec.kubernetes.tls_secret or spec.kubernetes.certificate else "http"
    service = spec.kubernetes.service
    if spec.kubernetes.hostnames:
        host: pulumi.Input[str] = spec.kubernetes.hostnames[0]
    elif service.type == "NodePort":
        host = service.address or api_host
    elif service.type == "LoadBalancer":
        host = traefik.service.status.load_balancer.ingress[0].apply(
            lambda ingress: ingress.hostname or ingress.ip
        )
    else:
        host = traefik.service.spec.cluster_ip
    return pulumi.Output.all(host=host, port=traefik.port).apply(
        lambda values: _build_url(scheme, values["host"], values["port"])
    )


def _build_url(scheme: str, host: str, port: float | None) -> str:
    """Return the URL. In a preview, the port is unknown if the cluster chooses it."""
    if port == (443 if scheme == "https" else 80):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port) if port else '<port>'}"
