"""What the options of a stack in a cluster add to it, and the stack behind an existing Gateway."""

import json

import pytest

from pulumi_berth.kubernetes.object_names import list_object_names
from tests.unit.declared_hosting import Resources, declare

_ENTRY = """\
  berth:gateway:
    replicas: 3
    max_replicas: 6
    resources: {cpu: 250m, memory: 300Mi}
  berth:kubernetes:
    controller_replicas: 2
    controller_max_replicas: 4
    controller_resources: {cpu_limit: "3"}
    zone_spread: required
    hostnames: [api.example.com]
    certificate: {issuer: lets-encrypt}
    monitor_labels: {release: prometheus}
    monitoring: true
"""


@pytest.fixture(scope="module")
def declared() -> Resources:
    return declare()


@pytest.fixture(scope="module")
def configured() -> Resources:
    """A stack that changes the pods of the entry point."""
    return declare(more=_ENTRY)


def test_entry_point_has_the_specified_replicas_and_resources(configured: Resources) -> None:
    gateway = configured["Deployment", "gateway"]["spec"]
    (container,) = gateway["template"]["spec"]["containers"]
    assert gateway["replicas"] == 3
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "300Mi"},
        "limits": {"cpu": "250m", "memory": "300Mi"},
    }
    (container,) = configured["Deployment", "traefik"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"cpu": "3", "memory": "512Mi"},
    }
    ranges = {
        name: (inputs["spec"]["minReplicas"], inputs["spec"]["maxReplicas"])
        for (kind, name), inputs in configured.items()
        if kind == "HorizontalPodAutoscaler"
    }
    assert ranges["gateway"] == (3, 6)
    assert ranges["traefik"] == (2, 4)


@pytest.mark.parametrize("name", ["gateway", "traefik"])
def test_entry_point_is_spread_over_nodes_and_zones(
    declared: Resources, configured: Resources, name: str
) -> None:
    def read_spread(resources: Resources) -> dict[str, str]:
        pod = resources["Deployment", name]["spec"]["template"]["spec"]
        return {
            entry["topologyKey"]: entry["whenUnsatisfiable"]
            for entry in pod["topologySpreadConstraints"]
        }

    host, zone = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
    assert read_spread(declared) == {host: "ScheduleAnyway", zone: "ScheduleAnyway"}
    assert read_spread(configured) == {host: "ScheduleAnyway", zone: "DoNotSchedule"}


def test_each_program_has_a_pod_monitor_for_its_metrics_port(configured: Resources) -> None:
    ports = {
        (kind, name): {
            port["name"]
            for container in inputs["spec"]["template"]["spec"]["containers"]
            for port in container["ports"]
        }
        for (kind, name), inputs in configured.items()
        if kind == "Deployment"
    }
    deployments = {"berth": "digits-1", "gateway": "gateway", "traefik": "traefik"}
    for pods, deployment in deployments.items():
        monitor = configured["PodMonitor", f"{pods}-monitor"]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports["Deployment", deployment]
        assert endpoint["port"] != "http"
        template = configured["Deployment", deployment]["spec"]["template"]
        selected = monitor["spec"]["selector"]["matchLabels"]
        assert selected.items() <= template["metadata"]["labels"].items()


def test_rules_and_dashboard_are_created_only_if_switched_on(
    declared: Resources, configured: Resources
) -> None:
    assert not {("PrometheusRule", "rules"), ("ConfigMap", "dashboard")} & declared.keys()
    rules, dashboard = configured["PrometheusRule", "rules"], configured["ConfigMap", "dashboard"]
    # The labels by which Prometheus and the sidecar of Grafana select them.
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    ((file, text),) = dashboard["data"].items()
    assert file == f"{json.loads(text)['uid']}.json"
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    absent = [rule["expr"] for rule in alerts if rule.get("alert") == "BerthAbsent"]
    # A container of the user's own exports no metrics of Berth.
    assert absent == [
        f'absent(berth_model_info{{namespace="berth",model="{model}",version="{version}"}})'
        for model, version in (("digits", "1"), ("digits", "2"), ("breast-cancer", "1"))
    ]


def test_owner_of_rules_and_dashboard_is_checked_if_switched_on(configured: Resources) -> None:
    checked = list_object_names({}, has_monitoring=True)
    assert {*checked} - {*list_object_names({})} == {
        configured[kind]["metadata"]["name"]
        for kind in (("PrometheusRule", "rules"), ("ConfigMap", "dashboard"))
    }


def test_certificate_of_cert_manager_serves_the_host_names(configured: Resources) -> None:
    certificate = configured["Certificate", "certificate"]["spec"]
    assert certificate["dnsNames"] == ["api.example.com"]
    assert certificate["issuerRef"]["name"] == "lets-encrypt"
    assert certificate["issuerRef"]["kind"] == "ClusterIssuer"
    (listener,) = configured["Gateway", "traefik"]["spec"]["listeners"]
    assert listener["protocol"] == "HTTPS"
    assert listener["tls"]["certificateRefs"] == [{"name": certificate["secretName"]}]


_ATTACHED = """\
  berth:kubernetes:
    hostnames: [api.example.com]
    parent_gateway:
      name: shared
      namespace: infra
      section_name: https
      controller_labels: {app: envoy}
"""


@pytest.fixture(scope="module")
def attached() -> Resources:
    """A stack behind an existing Gateway of the cluster."""
    return declare(more=_ATTACHED)


def test_stack_behind_an_existing_gateway_has_one_route_and_no_controller(
    attached: Resources,
) -> None:
    kinds = {kind for kind, _ in attached}
    assert not kinds & {"Traefik", "GatewayClass", "Middleware", "TraefikService", "ClusterRole"}
    assert not any("traefik" in name for _, name in attached)
    assert [name for kind, name in attached if kind == "HTTPRoute"] == ["gateway-route"]
    route = attached["HTTPRoute", "gateway-route"]["spec"]
    assert route["parentRefs"] == [{"name": "shared", "namespace": "infra", "sectionName": "https"}]
    assert route["hostnames"] == ["api.example.com"]
    # Every implementation of the Gateway API supports a path and a Service of the same namespace.
    (rule,) = route["rules"]
    assert rule == {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": "gateway", "port": 8080}],
    }


def test_gateway_behind_an_existing_gateway_splits_traffic_and_admits_only_its_controller(
    attached: Resources,
) -> None:
    config = json.loads(attached["Secret", "gateway"]["stringData"]["value"]["gateway.json"])
    assert config["models"]["digits"]["traffic"] == {"1": 90, "2": 10}
    (container,) = attached["Deployment", "gateway"]["spec"]["template"]["spec"]["containers"]
    assert "GATEWAY_AUTHORIZE_PORT" not in {entry["name"] for entry in container["env"]}
    assert [port["name"] for port in attached["Service", "gateway"]["spec"]["ports"]] == ["public"]
    requests, _ = attached["NetworkPolicy", "gateway"]["spec"]["ingress"]
    assert requests["ports"] == [{"port": "public", "protocol": "TCP"}]
    assert requests["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "infra"}},
            "podSelector": {"matchLabels": {"app": "envoy"}},
        }
    ]
    callers, _ = attached["NetworkPolicy", "digits-1"]["spec"]["ingress"]
    (caller,) = callers["from"]
    assert caller["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "gateway"
