"""How requests reach the berths of a stack in a cluster, and what else they reach."""

import json

import pytest

from pulumi_berth.kubernetes.berth import KIND_LABELS
from pulumi_berth.kubernetes.object_names import GATEWAY_LABELS
from tests.unit.declared_hosting import Resources, declare


@pytest.fixture(scope="module")
def declared() -> Resources:
    return declare()


def test_only_the_gateway_reaches_own_containers(declared: Resources) -> None:
    """It limits bodies and checks keys, which an ingress controller leaves to the berths."""
    (rule,) = declared["NetworkPolicy", "own-1"]["spec"]["ingress"]
    assert [source["podSelector"]["matchLabels"] for source in rule["from"]] == [GATEWAY_LABELS]
    egress = declared["NetworkPolicy", "gateway"]["spec"]["egress"]
    (ports,) = [
        [port["port"] for port in rule["ports"]]
        for rule in egress
        if {"podSelector": {"matchLabels": KIND_LABELS}} in rule.get("to", [])
    ]
    assert ports == [8080, 9001]
    assert ("HTTPRoute", "own") not in declared
    assert ("TraefikService", "traefik-own-1") not in declared


def test_only_the_ingress_controller_has_an_api_token(declared: Resources) -> None:
    with_token = [
        name
        for (kind, name), inputs in declared.items()
        if kind == "Deployment"
        and inputs["spec"]["template"]["spec"]["automountServiceAccountToken"]
    ]
    assert with_token == ["traefik"]


def test_ingress_controller_permissions_are_limited_to_its_namespace(declared: Resources) -> None:
    cluster_rules = declared["ClusterRole", "traefik"]["rules"]
    assert {resource for rule in cluster_rules for resource in rule["resources"]} == {
        "namespaces", "gatewayclasses", "gatewayclasses/status",
    }  # fmt: skip
    for kind in ("Role", "ClusterRole"):
        for rule in declared[kind, "traefik"]["rules"]:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]


def test_network_policies_deny_by_default_and_berths_reach_only_dns(declared: Resources) -> None:
    default = declared["NetworkPolicy", "namespace-default-deny"]["spec"]
    assert (default["podSelector"], default["policyTypes"]) == ({}, ["Ingress", "Egress"])
    berth = declared["NetworkPolicy", "digits-1"]["spec"]
    assert len(berth["egress"]) == 1  # DNS


def test_changed_weights_change_only_the_model_route(declared: Resources) -> None:
    other = declare(50)
    changed = [
        name
        for name, inputs in declared.items()
        if json.dumps(inputs, default=str, sort_keys=True)
        != json.dumps(other[name], default=str, sort_keys=True)
    ]
    assert changed == [("HTTPRoute", "digits")]
    assert declared.keys() == other.keys()


def test_share_of_each_version_is_directed_by_the_gateway(declared: Resources) -> None:
    split = declared["HTTPRoute", "digits"]["spec"]["rules"][0]["backendRefs"]
    assert [(each["kind"], each["name"], each["weight"]) for each in split] == [
        ("TraefikService", "share-digits-1@http", 90),
        ("TraefikService", "share-digits-2@http", 10),
    ]
    for version in ("1", "2"):
        direct = declared["TraefikService", f"traefik-digits-{version}-direct"]
        assert direct["metadata"]["name"] == f"digits-{version}-direct"
        [service] = direct["spec"]["weighted"]["services"]
        assert service["name"] == f"digits-{version}"
    [container] = declared["Deployment", "traefik"]["spec"]["template"]["spec"]["containers"]
    assert "--providers.http.endpoint=http://gateway.berth.svc:8081/traefik" in container["args"]


def test_only_version_with_traffic_gets_its_requests_directly(declared: Resources) -> None:
    [split] = declared["HTTPRoute", "breast-cancer"]["spec"]["rules"][0]["backendRefs"]
    assert split["name"] == "berth-breast-cancer-1-direct@kubernetescrd"


def test_ingress_controller_uses_addresses_of_services_and_connections_end(
    declared: Resources,
) -> None:
    """It sends pods that end nothing more: 503 if all pods of a version end at the same time."""
    backends = {
        name: inputs["spec"]["weighted"]["services"]
        for (kind, name), inputs in declared.items()
        if kind == "TraefikService"
    }
    assert backends.keys() == {
        f"traefik-{berth}-direct" for berth in ("digits-1", "digits-2", "breast-cancer-1")
    }
    assert all(service["nativeLB"] for [service] in backends.values())
    gateway = declared["Service", "gateway"]["metadata"]["annotations"]
    assert gateway["traefik.io/service.nativelb"] == "true"
    # An address selects a pod for each connection.
    for name, variable in (
        ("gateway", "GATEWAY_CONNECTION_REQUESTS"),
        ("digits-2", "BERTH_CONNECTION_REQUESTS"),
    ):
        [container] = declared["Deployment", name]["spec"]["template"]["spec"]["containers"]
        assert {"name": variable, "value": "16"} in container["env"]


def test_errors_of_the_ingress_controller_come_from_the_gateway(declared: Resources) -> None:
    for model in ("digits", "breast-cancer"):
        direct = declared["HTTPRoute", model]["spec"]["rules"][0]["filters"]
        assert direct[0]["extensionRef"]["name"] == "errors"
    errors = declared["Middleware", "traefik-errors"]["spec"]["errors"]
    assert errors["status"] == ["502", "504"]
    assert errors["query"] == "/traefik/errors/{status}"
    assert errors["service"] == {"name": "gateway", "port": 8081, "nativeLB": True}
    assert ("HTTPRoute", "gateway-route-other-hosts") not in declared


def test_unreadable_body_is_not_an_error_of_the_server(declared: Resources) -> None:
    """Traefik responds with 500 if it cannot read chunks, which only unknown lengths have."""
    errors = declared["Middleware", "traefik-body-errors"]["spec"]["errors"]
    assert (errors["status"], errors["statusRewrites"]) == (["500"], {"500": 400})
    known, unknown = declared["HTTPRoute", "gateway-route"]["spec"]["rules"]
    [condition] = known["matches"][0]["headers"]
    assert (condition["name"], "filters" in known) == ("Content-Length", False)
    for rule in (unknown, declared["HTTPRoute", "digits"]["spec"]["rules"][2]):
        assert "headers" not in rule["matches"][0]
        assert rule["filters"][0]["extensionRef"]["name"] == "body-errors"
        header = rule["filters"][1]["requestHeaderModifier"]["set"][-1]
        assert header == {"name": "x-berth-unknown-length", "value": "1"}


def test_scrapers_reach_only_the_metrics_ports(declared: Resources) -> None:
    scraped = []
    for (kind, name), inputs in declared.items():
        if kind == "NetworkPolicy":
            for rule in inputs["spec"].get("ingress", ()):
                if any("namespaceSelector" in peer for peer in rule.get("from", ())):
                    scraped.append((name, [port["port"] for port in rule["ports"]]))
    assert sorted(scraped) == [
        ("breast-cancer-1", ["metrics"]),
        ("digits-1", ["metrics"]),
        ("digits-2", ["metrics"]),
        ("gateway", ["metrics"]),
        ("traefik", ["admin"]),
    ]
    pod = declared["Deployment", "digits-1"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["metrics"] != ports["http"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["BERTH_METRICS_PORT"] == str(int(ports["metrics"]))
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(int(ports["metrics"]))


def test_berths_require_the_token_that_the_gateway_adds(declared: Resources) -> None:
    (container,) = declared["Deployment", "digits-1"]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    directory, _, file = environment["BERTH_TOKEN_FILE"].rpartition("/")
    assert mounts[directory]["readOnly"] is True
    # Pulumi wraps secrets in a dictionary.
    token = declared["Secret", "berth-token"]["stringData"]["value"]
    assert token == {file: "key-of-berth_token"}
    gateway = declared["Secret", "gateway"]["stringData"]["value"]
    assert gateway["token"] == "key-of-berth_token"
    added = declared["Middleware", "traefik-authorize"]["spec"]["forwardAuth"][
        "authResponseHeaders"
    ]
    assert "x-berth-token" in added
    removed = declared["Middleware", "traefik-remove-headers"]["spec"]["headers"]
    assert "x-berth-token" not in removed["customRequestHeaders"]


def test_gateway_secret_contains_key_hashes_but_no_key(declared: Resources) -> None:
    text = json.dumps(declared["Secret", "gateway"], default=str)
    assert "key-of-default" not in text
    assert "sha256" in text
