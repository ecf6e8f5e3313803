"""Tests of the resources that Berth declares for a cluster, with mocks instead of the engine."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from berth.platforms.image_settings import build_image_settings
from berth.platforms.kubernetes.hosting import (
    build_hosted_models,
    build_hosting_args,
)
from berth.spec import load_file
from pulumi_berth.api_key import create_client_keys
from pulumi_berth.images.hosting_images import HostingImages
from pulumi_berth.kubernetes.berth import KIND_LABELS
from pulumi_berth.kubernetes.hosting import declare_hosting
from pulumi_berth.kubernetes.object_names import GATEWAY_LABELS, list_object_names
from tests.repository import REPOSITORY

_STACK = """\
config:
  berth:platform: kubernetes
  berth:registry: {url: registry.example.com/berth, pull_secret: registry-login}
  berth:models:
    own:
      versions: {"1": {container: {image: "example.com/own/server@sha256:DIGEST", port: 9001}}}
      replicas: {min: 1, max: 3}
    digits:
      versions: {"1": {}, "2": {}}
      traffic: {"1": WEIGHT, "2": REST}
      replicas: {min: 1, max: 3}
    breast-cancer:
      versions: {"1": {}}
      compute: gpu
"""

_OWN_DIGEST = "c" * 64
_VERSIONS = (("own", "1"), ("digits", "1"), ("digits", "2"), ("breast-cancer", "1"))

Resources = dict[tuple[str, str], dict[str, Any]]


class _Engine(mocks.Mocks):
    """An engine that records the inputs of each resource and returns them as outputs."""

    def __init__(self) -> None:
        self.resources: Resources = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        kind = args.typ.split("/")[-1].split(":")[-1]
        self.resources[kind, args.name] = args.inputs
        outputs = {
            "ApiKey": {"key": f"key-of-{args.name}"},
            "NamespaceClaim": {"owner_id": "0123456789ab", "owner": "p/x/0123456789ab"},
        }
        return f"{args.name}-id", {**args.inputs, **outputs.get(kind, {})}


def _declare(folder: Path, weight: int, more: str = "") -> Resources:
    engine = _Engine()
    mocks.set_mocks(engine)
    path = folder / "Pulumi.x.yaml"
    stack = _STACK.replace("DIGEST", _OWN_DIGEST)
    path.write_text(stack.replace("WEIGHT", str(weight)).replace("REST", str(100 - weight)) + more)
    spec = load_file(path)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]  # Pulumi does not type it.
    def declare() -> pulumi.Output[Any]:
        settings = build_image_settings(spec, "registry.example.com/berth")
        args = build_hosting_args(
            spec,
            build_hosted_models(
                spec,
                REPOSITORY,
                registry="registry.example.com/berth",
                mounts={"own": [], "digits": [], "breast-cancer": []},
            ),
            settings,
            root=REPOSITORY,
            namespace="berth",
            limits_prefix="berth:x",
            has_pod_metrics=False,
            has_prometheus_operator=True,
        )
        assert args.clients is not None
        hosting = declare_hosting(
            args,
            access=None,
            images=HostingImages(
                serving=dict.fromkeys(_VERSIONS, "registry/x@sha256:0"),
                gateway="registry/gateway@sha256:0",
                valkey="registry/valkey@sha256:0",
                reports={},
            ),
            keys=create_client_keys(args.clients),
            opts=pulumi.ResourceOptions(),
        )  # fmt: skip
        return pulumi.Output.all(hosting.gateway_service)

    declare()
    return engine.resources


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return _declare(tmp_path_factory.mktemp("stack"), 90)


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ServiceAccount", "NetworkPolicy",
                                  "PodDisruptionBudget"])  # fmt: skip
def test_each_berth_has_every_kind_of_resource(declared: Resources, kind: str) -> None:
    names = {name for resource_kind, name in declared if resource_kind == kind}
    assert {"digits-1", "digits-2", "breast-cancer-1", "own-1"} <= names


def test_only_berths_with_a_replica_range_have_an_autoscaler(declared: Resources) -> None:
    scaled = {name for kind, name in declared if kind == "HorizontalPodAutoscaler"}
    assert scaled == {"digits-1", "digits-2", "own-1"}
    # The autoscaler takes over this count; without one, it would start from a single replica.
    assert declared["Deployment", "digits-1"]["spec"]["replicas"] == 1
    assert declared["Deployment", "breast-cancer-1"]["spec"]["replicas"] == 1


def test_own_container_is_asked_for_its_model_before_it_gets_traffic(declared: Resources) -> None:
    template = declared["Deployment", "own-1"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9001}]
    assert {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    } == {
        "startupProbe": "/v2/models/own/versions/1",
        "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",
    }
    assert template["metadata"]["annotations"]["berth/digest"] == f"sha256:{_OWN_DIGEST}"


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


def test_own_container_gets_no_secret_no_setting_and_no_port_for_metrics(
    declared: Resources,
) -> None:
    template = declared["Deployment", "own-1"]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert "env" not in container
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert "prometheus.io/scrape" not in template["metadata"]["annotations"]
    (port,) = declared["Service", "own-1"]["spec"]["ports"]
    assert port["name"] == "http"
    policy = declared["NetworkPolicy", "own-1"]["spec"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == ["http"]
    reference = declared["Deployment", "digits-1"]["spec"]["template"]["spec"]
    assert container["resources"] == reference["containers"][0]["resources"]
    same = "securityContext", "terminationGracePeriodSeconds", "automountServiceAccountToken"
    assert {key: pod[key] for key in same} == {key: reference[key] for key in same}


def test_all_pods_meet_pod_security_restricted(declared: Resources) -> None:
    pods = [
        inputs["spec"]["template"]["spec"]
        for (kind, _), inputs in declared.items()
        if kind in ("Deployment", "StatefulSet")
    ]
    assert len(pods) == 7
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]


def test_all_service_accounts_have_the_pull_secret(declared: Resources) -> None:
    accounts = [inputs for (kind, _), inputs in declared.items() if kind == "ServiceAccount"]
    assert len(accounts) == 7
    assert all(account["imagePullSecrets"] == [{"name": "registry-login"}] for account in accounts)


def test_deployments_without_gpus_keep_all_old_pods_until_new_pods_are_ready(
    declared: Resources,
) -> None:
    for (kind, name), inputs in declared.items():
        if kind == "Deployment":
            steps = inputs["spec"]["strategy"]["rollingUpdate"]
            # A berth with GPUs gives its GPUs to its successor: there may be no others.
            is_gpu = name == "breast-cancer-1"
            assert (steps["maxUnavailable"], steps["maxSurge"]) == (
                (1, 0) if is_gpu else (0, "25%")
            )
            pod = inputs["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
            assert pod["terminationGracePeriodSeconds"] > 30


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


def test_only_gpu_pods_tolerate_the_gpu_taint(declared: Resources) -> None:
    pods = {
        name: inputs["spec"]["template"]["spec"]
        for (kind, name), inputs in declared.items()
        if kind == "Deployment"
    }
    gpu = pods.pop("breast-cancer-1")
    assert gpu["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not any("tolerations" in pod for pod in pods.values())


def test_network_policies_deny_by_default_and_berths_reach_only_dns(declared: Resources) -> None:
    default = declared["NetworkPolicy", "namespace-default-deny"]["spec"]
    assert (default["podSelector"], default["policyTypes"]) == ({}, ["Ingress", "Egress"])
    berth = declared["NetworkPolicy", "digits-1"]["spec"]
    assert len(berth["egress"]) == 1  # DNS


def test_changed_weights_change_only_the_model_route(declared: Resources, tmp_path: Path) -> None:
    other = _declare(tmp_path, 50)
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


def test_owner_of_every_object_with_a_fixed_name_is_checked(declared: Resources) -> None:
    """With server-side apply, the cluster adopts an object that has the name."""
    versions = {"digits": ["1", "2"], "breast-cancer": ["1"], "own": ["1"]}
    checked = list_object_names(versions)
    names = {
        inputs["metadata"]["name"]
        for (kind, _), inputs in declared.items()
        if kind not in ("Namespace", "PodMonitor")  # A stack does not check other monitors.
        and "namespace" in inputs.get("metadata", {})
        and "name" in inputs["metadata"]
    }
    assert {"digits-1", "digits-1-direct", "body-errors", "digits", "traefik"} <= names
    assert names <= {*checked, "default-deny"}


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


def test_gateway_secret_contains_key_hashes_but_no_key(declared: Resources) -> None:
    text = json.dumps(declared["Secret", "gateway"], default=str)
    assert "key-of-default" not in text
    assert "sha256" in text


_CLUSTER_SCOPED = ("ClusterRole", "ClusterRoleBinding", "PriorityClass", "GatewayClass")


def _list_objects(declared: Resources) -> list[tuple[str, dict[str, Any]]]:
    return [
        (kind, inputs["metadata"]) for (kind, _), inputs in declared.items() if "metadata" in inputs
    ]


def test_every_object_names_its_owner(declared: Resources) -> None:
    objects = _list_objects(declared)
    assert {"Namespace", "Deployment", "HTTPRoute", *_CLUSTER_SCOPED} <= {
        kind for kind, _ in objects
    }
    owners = {(metadata.get("annotations") or {}).get("berth/owner") for _, metadata in objects}
    assert owners == {"p/x/0123456789ab"}


def test_objects_whose_owner_is_not_checked_are_not_taken_over(declared: Resources) -> None:
    """Without access to the cluster, a conflict of the API server is the only protection."""
    for kind in ("Service", "Secret", "NetworkPolicy"):
        annotations = declared[kind, "gateway"]["metadata"]["annotations"]
        assert "pulumi.com/patchForce" not in annotations, kind


def test_names_of_cluster_scoped_objects_contain_namespace_and_owner(declared: Resources) -> None:
    named = [metadata for kind, metadata in _list_objects(declared) if kind in _CLUSTER_SCOPED]
    assert len(named) == 6
    assert all(entry["name"].startswith("berth-berth-0123456789ab-") for entry in named)


def test_pods_that_every_request_needs_rank_highest(declared: Resources) -> None:
    classes = {
        inputs["metadata"]["name"]: inputs
        for (kind, _), inputs in declared.items()
        if kind == "PriorityClass"
    }
    ranks = {
        name: classes[inputs["spec"]["template"]["spec"]["priorityClassName"]]["value"]
        for (kind, name), inputs in declared.items()
        if kind in ("Deployment", "StatefulSet")
    }
    entry = {ranks.pop(name) for name in ("gateway", "traefik", "valkey")}
    assert min(entry) > max(ranks.values())
    policies = {entry["value"]: entry["preemptionPolicy"] for entry in classes.values()}
    assert policies.pop(min(policies)) == "Never"
    assert set(policies.values()) == {"PreemptLowerPriority"}


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
def configured(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    """A stack that changes the pods of the entry point."""
    return _declare(tmp_path_factory.mktemp("configured"), 90, _ENTRY)


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
def attached(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    """A stack behind an existing Gateway of the cluster."""
    return _declare(tmp_path_factory.mktemp("attached"), 90, _ATTACHED)


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
