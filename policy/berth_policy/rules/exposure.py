"""Rules for entry points: Services, Gateways, Ingresses and load balancers."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import (
    UNKNOWN,
    Resource,
    Rule,
    Stack,
    get_list,
    get_mapping,
    kubernetes_objects,
    kubernetes_types,
    require_one_of,
)

# Berth's ingress controller is the entry point that the specification describes
# (`berth:kubernetes.service` and `tls_secret`).
_CONTROLLER = "berth:kubernetes:Traefik$"
_GATEWAY_TYPES = kubernetes_types("Gateway")
_SERVICE_TYPES = kubernetes_types("Service")
_TLS_PROTOCOLS = ("HTTPS", "TLS", "MONGO", "TLS_AUTO_PASSTHROUGH", UNKNOWN)
# Annotation -> values with which a cloud creates a load balancer inside the network only.
_INTERNAL = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": ("internal",),
    "service.beta.kubernetes.io/aws-load-balancer-internal": ("true", "0.0.0.0/0"),
    "service.beta.kubernetes.io/azure-load-balancer-internal": ("true",),
    "networking.gke.io/load-balancer-type": ("Internal",),
    "cloud.google.com/load-balancer-type": ("Internal",),
}
_LOAD_BALANCERS = (
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:alb/loadBalancer:LoadBalancer",
    "aws:applicationloadbalancing/loadBalancer:LoadBalancer",
    "aws:elasticloadbalancingv2/loadBalancer:LoadBalancer",
    "aws:elb/loadBalancer:LoadBalancer",
    "aws:elasticloadbalancing/loadBalancer:LoadBalancer",
)
_LISTENERS = (
    "aws:lb/listener:Listener",
    "aws:alb/listener:Listener",
    "aws:applicationloadbalancing/listener:Listener",
    "aws:elasticloadbalancingv2/listener:Listener",
)
_FUNCTION_URL = "aws:lambda/functionUrl:FunctionUrl"


def _check_service(service: Resource, stack: Stack) -> Iterator[str]:
    for content in kubernetes_objects(service):
        spec = get_mapping(content, "spec")
        kind = spec.get("type")
        if addresses := get_list(spec, "externalIPs"):
            yield f"it receives traffic for externalIPs {', '.join(map(str, addresses))}"
        if _CONTROLLER in service.urn:
            if kind == "LoadBalancer" and not _is_internal(content) and _is_plain(stack):
                yield "it is a public load balancer without TLS"
        elif kind == "NodePort":
            yield "every node opens a port for it"
        elif kind == "LoadBalancer" and not _is_internal(content):
            yield "it is a public load balancer"


def _is_internal(content: Mapping[str, Any]) -> bool:
    annotations = get_mapping(get_mapping(content, "metadata"), "annotations")
    return any(str(annotations.get(key)) in values for key, values in _INTERNAL.items())


def _is_plain(stack: Stack) -> bool:
    """Return whether a Gateway of Berth's ingress controller has a listener without TLS."""
    gateways = [one for one in stack.of_type(*_GATEWAY_TYPES) if _CONTROLLER in one.urn]
    return any(_plain_listeners(one) for one in gateways) or not gateways


def _check_gateway(gateway: Resource, _: Stack) -> Iterator[str]:
    # With `service.type: LoadBalancer`, `service-not-public` requires TLS of this Gateway.
    if _CONTROLLER not in gateway.urn and (names := _plain_listeners(gateway)):
        yield f"it accepts unencrypted requests on {', '.join(names)}"


def _plain_listeners(gateway: Resource) -> list[str]:
    """Return the listeners without TLS: of the Gateway API, and of Istio's `Gateway`."""
    names = []
    for content in kubernetes_objects(gateway):
        spec = get_mapping(content, "spec")
        for listener in get_list(spec, "listeners"):
            if isinstance(listener, Mapping) and listener.get("protocol") not in _TLS_PROTOCOLS:
                names.append(f"listener {listener.get('name')}")
        for server in get_list(spec, "servers"):
            port = get_mapping(server, "port")
            redirects = get_mapping(server, "tls").get("httpsRedirect") is True
            if port.get("protocol") not in _TLS_PROTOCOLS and not redirects:
                names.append(f"server {port.get('name') or port.get('number')}")
    return names


def _check_ingress(ingress: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(ingress):
        spec = content.get("spec")
        if not isinstance(spec, Mapping):
            continue
        tls = spec.get("tls")
        # Traefik's routes set `tls`, which can be empty; an Ingress lists its host names.
        if tls is None or (tls == [] and "Route" not in ingress.type):
            yield "it accepts unencrypted requests"


def _check_listener(listener: Resource, _: Stack) -> Iterator[str]:
    protocol = listener.get("protocol", "HTTP")
    if protocol != "HTTP":
        return  # a network load balancer forwards bytes; a TLS listener encrypts them
    actions = listener.get("defaultActions", [])
    if actions is not UNKNOWN and not all(
        get_mapping(action, "redirect").get("protocol") == "HTTPS" for action in actions
    ):
        yield "it accepts unencrypted requests"


RULES = (
    Rule(
        id="service-not-public",
        severity="critical",
        types=_SERVICE_TYPES,
        needs_stack=True,
        description="Only Berth's ingress controller receives requests from outside the cluster: "
        "other Services have no public load balancer, node port or external address. A public load "
        "balancer of the ingress controller requires TLS.",
        remedy="Use type ClusterIP and a route of the gateway, or an internal load balancer. For "
        "the ingress controller set berth:kubernetes.tls_secret.",
        check=_check_service,
    ),
    Rule(
        id="gateway-tls",
        severity="high",
        types=_GATEWAY_TYPES,
        description="Gateways accept only encrypted requests. (For the gateway of Berth's ingress "
        "controller, see `service-not-public`.)",
        remedy="Set the protocol of each listener to HTTPS, with a certificate.",
        check=_check_gateway,
    ),
    Rule(
        id="ingress-tls",
        severity="high",
        types=kubernetes_types("Ingress", "IngressRoute", "IngressRouteTCP"),
        description="Ingresses accept only encrypted requests.",
        remedy="Set spec.tls.",
        check=_check_ingress,
    ),
    Rule(
        id="load-balancer-internal",
        severity="high",
        types=_LOAD_BALANCERS,
        description="Load balancers are internal. The public entry point is the API with its "
        "firewall.",
        remedy="Set internal to true.",
        check=require_one_of("internal", True),
    ),
    Rule(
        id="load-balancer-tls",
        severity="high",
        types=_LISTENERS,
        description="Application load balancers answer unencrypted requests only with a redirect.",
        remedy="Set the protocol to HTTPS with a certificate, or redirect to HTTPS.",
        check=_check_listener,
    ),
    Rule(
        id="function-url-authorized",
        severity="critical",
        types=(_FUNCTION_URL,),
        description="URLs of Lambda functions require AWS credentials.",
        remedy='Set authorization_type to "AWS_IAM".',
        check=require_one_of("authorizationType", "AWS_IAM"),
    ),
)
