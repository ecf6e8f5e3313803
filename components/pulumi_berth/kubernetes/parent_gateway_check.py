"""The check that an existing Gateway of the cluster admits the route of a stack."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_protocol.catalog_paths import DOCS, OPENAPI
from pulumi_berth.kubernetes.api_groups import GATEWAY_API, GATEWAY_GROUP
from pulumi_berth.kubernetes.cluster_access import find_object
from pulumi_berth.kubernetes.object_names import ROUTE
from pulumi_berth.kubernetes.parent_gateway import ParentGatewayArgs

_API = f"/apis/{GATEWAY_API}"
_PLAIN, _TLS = "HTTP", "HTTPS"
_ANY_HOST = ""
# The Gateway API gives a request to the route with the most specific path, of equal ones to the
# oldest: https://gateway-api.sigs.k8s.io/api-types/httproute/
_OWN_PATHS = ("/v2", DOCS, OPENAPI)


@dataclass(frozen=True, kw_only=True)
class GatewayFacts:
    """What the cluster contains, as its API returns it.

    Attributes:
        kinds: Resources that the cluster serves in version v1 of the Gateway API.
        gateway: The Gateway. None if it does not exist or may not be read.
        gateway_class: Its GatewayClass. None if it does not exist or may not be read.
        namespace_labels: Labels of the stack's namespace. None if it does not exist.
        routes: All HTTPRoutes. None of them if they may not be listed.
    """

    kinds: frozenset[str]
    gateway: Mapping[str, Any] | None
    gateway_class: Mapping[str, Any] | None
    namespace_labels: Mapping[str, str] | None
    routes: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class RouteRequest:
    """The route that a stack wants to attach.

    Attributes:
        parent: The Gateway and its listener.
        namespace: Namespace of the stack and of its route.
        labels: Labels that the namespace gets if the stack creates it.
        hostnames: Host names of the route. If empty, those of the listener apply.
    """

    parent: ParentGatewayArgs
    namespace: str
    labels: Mapping[str, str]
    hostnames: Sequence[str]


def read_facts(client: Any, parent: ParentGatewayArgs, namespace: str) -> GatewayFacts:
    """Return what the cluster contains, with five requests to its API."""
    kinds = find_object(client, _API) or {}
    path = f"{_API}/namespaces/{parent.namespace}/gateways/{parent.name}"
    gateway = find_object(client, path)
    name = "" if gateway is None else str(gateway["spec"]["gatewayClassName"])
    existing = find_object(client, f"/api/v1/namespaces/{namespace}")
    return GatewayFacts(
        kinds=frozenset(entry["name"] for entry in kinds.get("resources", ())),
        gateway=gateway,
        gateway_class=find_object(client, f"{_API}/gatewayclasses/{name}") if name else None,
        namespace_labels=None if existing is None else existing["metadata"].get("labels") or {},
        routes=(find_object(client, f"{_API}/httproutes") or {}).get("items", ()),
    )


def find_route(client: Any, namespace: str) -> dict[str, Any] | None:
    """Return the stack's HTTPRoute, or None if it does not exist or may not be read."""
    return find_object(client, f"{_API}/namespaces/{namespace}/httproutes/{ROUTE}")


def find_parent_problems(request: RouteRequest, facts: GatewayFacts) -> Iterator[str]:
    """Yield why the route would not receive requests, and what to do."""
    parent, gateway = request.parent, facts.gateway
    name = f"{parent.namespace}/{parent.name}"
    if "httproutes" not in facts.kinds:
        yield f"the cluster serves no httproutes in {GATEWAY_API}; install the Gateway API"
        return
    if gateway is None:
        yield f"Gateway {name} does not exist or may not be read; correct name and namespace"
        return
    yield from _find_unready(f"Gateway {name}", gateway, ("Accepted", "Programmed"))
    if facts.gateway_class is not None:
        class_name = facts.gateway_class["metadata"]["name"]
        yield from _find_unready(f"GatewayClass {class_name}", facts.gateway_class, ("Accepted",))
    listeners = _select_listeners(parent, gateway)
    if not listeners:
        known = ", ".join(listener["name"] for listener in gateway["spec"]["listeners"])
        yield f"Gateway {name} has no listener {parent.section_name}; its listeners: {known}"
        return
    reasons = {each["name"]: list(_find_refusals(request, facts, each)) for each in listeners}
    admitting = [each for each in listeners if not reasons[each["name"]]]
    for listener, texts in reasons.items():
        if parent.section_name is not None or not admitting:
            yield from (f"listener {listener} of Gateway {name} {text}" for text in texts)
    plain = [each["name"] for each in admitting if each["protocol"] == _PLAIN]
    if plain and not parent.plain_http:
        yield (
            f"listener {plain[0]} of Gateway {name} serves plain HTTP, with which others on the "
            "network can read API keys; name an HTTPS listener in section_name, or set plain_http "
            "to true"
        )
    if admitting:
        yield from _find_host_problems(request, name, admitting)
        yield from _find_rivals(request, facts.routes, admitting)


def find_listeners(request: RouteRequest, facts: GatewayFacts) -> list[Mapping[str, Any]]:
    """Return the listeners of the Gateway that admit the route."""
    if facts.gateway is None:
        return []
    return [
        listener
        for listener in _select_listeners(request.parent, facts.gateway)
        if not list(_find_refusals(request, facts, listener))
    ]


def find_route_problem(
    parent: ParentGatewayArgs, route: Mapping[str, Any] | None
) -> tuple[str, str] | None:
    """Return the reason and the message with which the Gateway's controller rejects the route.

    Args:
        route: The HTTPRoute, as the API returns it. None if it does not exist.
    """
    if route is None:
        return "missing", "the HTTPRoute does not exist"
    generation = int(route["metadata"].get("generation", 0))
    entries = [
        entry
        for entry in (route.get("status") or {}).get("parents") or ()
        if _is_ref_to(entry["parentRef"], parent, route["metadata"]["namespace"])
    ]
    if not entries:
        return "Pending", "no controller has reported on the HTTPRoute"
    problems = [_find_condition(entry, generation) for entry in entries]
    # Controllers that do not own the Gateway may report too.
    return None if None in problems else problems[0]


def _find_condition(entry: Mapping[str, Any], generation: int) -> tuple[str, str] | None:
    conditions = {condition["type"]: condition for condition in entry.get("conditions") or ()}
    for kind in ("Accepted", "ResolvedRefs"):
        condition = conditions.get(kind)
        if condition is None or int(condition.get("observedGeneration", 0)) < generation:
            controller = entry.get("controllerName", "the controller")
            return "Pending", f"{controller} has not reported {kind} for the latest HTTPRoute"
        if condition["status"] != "True":
            return str(condition["reason"]), str(condition.get("message") or kind)
    return None


def _find_unready(subject: str, resource: Mapping[str, Any], kinds: Sequence[str]) -> Iterator[str]:
    for condition in (resource.get("status") or {}).get("conditions") or ():
        if condition["type"] in kinds and condition["status"] != "True":
            detail = f"{condition['reason']}: {condition.get('message') or 'no message'}"
            yield (
                f"{subject} is not {condition['type'].lower()} ({detail.rstrip('.')}); ask its "
                "operator to correct it"
            )


def _select_listeners(
    parent: ParentGatewayArgs, gateway: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    return [
        listener
        for listener in gateway["spec"]["listeners"]
        if parent.section_name in (None, listener["name"])
    ]


def _find_refusals(
    request: RouteRequest, facts: GatewayFacts, listener: Mapping[str, Any]
) -> Iterator[str]:
    """Yield why a listener does not admit the route."""
    if listener["protocol"] not in (_PLAIN, _TLS):
        yield f"serves {listener['protocol']}; use a listener with protocol HTTPS or HTTP"
    allowed = listener.get("allowedRoutes") or {}
    kinds = allowed.get("kinds")
    if kinds and not any(
        entry["kind"] == "HTTPRoute" and entry.get("group", GATEWAY_GROUP) == GATEWAY_GROUP
        for entry in kinds
    ):
        yield "admits no HTTPRoute (allowedRoutes.kinds); use another listener"
    yield from _find_namespace_refusal(request, facts, allowed.get("namespaces") or {})
    wanted = request.hostnames or [_ANY_HOST]
    own = listener.get("hostname") or _ANY_HOST
    if not any(_intersects(own, hostname) for hostname in wanted):
        yield f"serves {own}; kubernetes.hostnames needs a host name that it matches"
    status = ((facts.gateway or {}).get("status") or {}).get("listeners") or ()
    for entry in status:
        if entry["name"] == listener["name"]:
            for text in _find_unready(
                "it", {"status": entry}, ("Accepted", "Programmed", "ResolvedRefs")
            ):
                yield text.removeprefix("it ")


def _find_namespace_refusal(
    request: RouteRequest, facts: GatewayFacts, namespaces: Mapping[str, Any]
) -> Iterator[str]:
    source = namespaces.get("from", "Same")
    if source == "All" or (source == "Same" and request.namespace == request.parent.namespace):
        return
    if source == "Same":
        yield (
            f"admits only routes of its own namespace, not of {request.namespace}; ask its owner "
            "to admit that namespace in allowedRoutes.namespaces"
        )
        return
    existing = facts.namespace_labels
    labels = {
        **(request.labels if existing is None else existing),
        "kubernetes.io/metadata.name": request.namespace,
    }
    selector = namespaces.get("selector") or {}
    if source != "Selector" or not _selects(selector, labels):
        yield (
            f"does not admit routes of namespace {request.namespace} (allowedRoutes.namespaces: "
            f"{_describe_selector(source, selector)}); ask its owner to admit it, or create the "
            "namespace with these labels and set adopt_namespace to true"
        )


def _describe_selector(source: str, selector: Mapping[str, Any]) -> str:
    labels = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    expressions = [
        " ".join([entry["key"], entry["operator"], *entry.get("values", ())])
        for entry in selector.get("matchExpressions") or ()
    ]
    return ", ".join([*labels, *expressions]) or source


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches. An empty one matches everything."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for entry in selector.get("matchExpressions") or ():
        value, values = labels.get(entry["key"]), entry.get("values") or ()
        is_met = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not is_met.get(entry["operator"], False):
            return False
    return True


def _intersects(one: str, other: str) -> bool:
    """Return whether some host name matches both, each a name, `*.` and a name, or any."""
    if _ANY_HOST in (one, other) or one == other:
        return True
    return _matches(one, other) or _matches(other, one)


def _matches(pattern: str, name: str) -> bool:
    # A wildcard matches one or more labels.
    return pattern.startswith("*.") and name.endswith(pattern[1:]) and name != pattern[2:]


def _find_host_problems(
    request: RouteRequest, name: str, listeners: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    own = [listener.get("hostname") or _ANY_HOST for listener in listeners]
    for hostname in request.hostnames:
        if not any(_intersects(hostname, each) for each in own):
            yield (
                f"no listener of Gateway {name} serves {hostname}; remove it from "
                "kubernetes.hostnames, or ask the Gateway's owner to serve it"
            )


def _find_rivals(
    request: RouteRequest,
    routes: Sequence[Mapping[str, Any]],
    listeners: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Yield the routes of others that would take some of the stack's requests, or lose theirs."""
    hosts = _list_hosts(request.hostnames, listeners)
    for route in routes:
        metadata, spec = route["metadata"], route["spec"]
        if (metadata["namespace"], metadata["name"]) == (request.namespace, ROUTE):
            continue
        if not any(
            _is_ref_to(ref, request.parent, metadata["namespace"])
            for ref in spec.get("parentRefs") or ()
        ):
            continue
        shared = hosts & _list_hosts(spec.get("hostnames") or (), listeners)
        if shared and (path := _find_shared_path(spec)):
            host = sorted(shared)[0] or "any host name"
            yield (
                f"HTTPRoute {metadata['namespace']}/{metadata['name']} of the same Gateway already "
                f"has path {path} for {host}; set other kubernetes.hostnames"
            )


def _list_hosts(hostnames: Sequence[str], listeners: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the host names of a route. Without its own, it has those of the listeners."""
    if hostnames:
        return frozenset(hostnames)
    return frozenset(listener.get("hostname") or _ANY_HOST for listener in listeners)


def _find_shared_path(spec: Mapping[str, Any]) -> str | None:
    """Return a path of a route that Berth's gateway serves too. Patterns are not compared."""
    default: Sequence[Mapping[str, Any]] = ({},)  # Without a match, a rule has all paths.
    for rule in spec.get("rules") or default:
        for match in rule.get("matches") or default:
            path = match.get("path") or {}
            kind, value = path.get("type", "PathPrefix"), str(path.get("value", "/"))
            if _is_shared(kind, value):
                return value
    return None


def _is_shared(kind: str, path: str) -> bool:
    steps = f"{path.rstrip('/')}/"
    if kind == "PathPrefix" and steps == "/":
        return True
    return kind in ("PathPrefix", "Exact") and any(
        steps.startswith(f"{own}/") for own in _OWN_PATHS
    )


def _is_ref_to(ref: Mapping[str, Any], parent: ParentGatewayArgs, namespace: str) -> bool:
    """Return whether a route's reference is to the Gateway and can be to the same listener.

    Args:
        namespace: Namespace of the route, which is the default.
    """
    sections = {ref.get("sectionName"), parent.section_name}
    return (
        ref.get("group", GATEWAY_GROUP) == GATEWAY_GROUP
        and ref.get("kind", "Gateway") == "Gateway"
        and ref["name"] == parent.name
        and ref.get("namespace", namespace) == parent.namespace
        and (None in sections or len(sections) == 1)
    )
