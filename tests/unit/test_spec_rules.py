"""Each rule of the specification, violated once: the error has key, value and remedy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.spec import SpecError
from tests.unit.spec_file import ABSENT, CLUSTER, changed, config_of, find_problems, load

_TWO: dict[str, Any] = {"1": {}, "2": {}}
_EXCEPTION = {
    "rule": "no-public-bucket",
    "resource": "access-log",
    "reason": "moves away next month",
    "expires": "2027-03-31",
}
_NAME = "1 to 40 lowercase letters, digits and hyphens, starting with a letter and not ending with"
_VERSION = (
    "1 to 16 lowercase letters, digits, dots and hyphens, with a letter or digit at both ends"
)

_JWT = {
    "issuer": "https://issuer.example",
    "audience": "berth",
    "jwks_url": "https://issuer.example/keys",
}

_SERVER = f"example.com/own/server@sha256:{'a' * 64}"

LOCAL: list[tuple[Mapping[Any, Any], str]] = [
    (
        {"platform": "azure"},
        "platform: 'azure' is not valid; use one of local, docker, kubernetes, aws",
    ),
    ({"platform": ABSENT}, "platform: is missing; set it to one of local, docker, kubernetes, aws"),
    ({"models": ABSENT}, "models: is missing; set it to a map of 1 to 1000 entries"),
    ({"models": {}}, "models: {} is not valid; use a map of 1 to 1000 entries"),
    ({"models": []}, "models: [] is not valid; use a map of 1 to 1000 entries"),
    (
        {"models.Digits": {"versions": {"1": {}}}},
        f"models.Digits: is not a valid name; use {_NAME}",
    ),
    ({"models.a-": {"versions": {"1": {}}}}, f"models.a-: is not a valid name; use {_NAME}"),
    (
        {"models." + "m" * 41: {"versions": {"1": {}}}},
        f"models.{'m' * 41}: is not a valid name; use {_NAME}",
    ),
    (
        {"models.digits.versions": ABSENT},
        "models.digits.versions: is missing; set it to a map of 1 to 50",
    ),
    (
        {"models.digits.versions": {}},
        "models.digits.versions: {} is not valid; use a map of 1 to 50",
    ),
    (
        {("models", "digits", "versions", "v 1"): {}},
        f'models.digits.versions["v 1"]: is not a valid name; use {_VERSION}',
    ),
    (
        {("models", "digits", "versions", "1" * 17): {}},
        f"models.digits.versions.{'1' * 17}: is not a valid name; use {_VERSION}",
    ),
    (
        {"models.digits.versions.1": None},
        "models.digits.versions.1: null is not valid; use a map with the keys path, digest, "
        "exposed",
    ),
    (
        {"models.digits.versions.1.path": "/srv/models"},
        "models.digits.versions.1.path: '/srv/models' is not valid; use a path relative to the "
        "project and inside it",
    ),
    (
        {"models.digits.versions.1.path": "models/../../elsewhere"},
        "models.digits.versions.1.path: 'models/../../elsewhere' is not valid; use a path relative",
    ),
    (
        {"models.digits.versions.1.digest": "sha256:abc"},
        "models.digits.versions.1.digest: 'sha256:abc' is not valid; use sha256: and 64 "
        "hexadecimal",
    ),
    (
        {"models.digits.versions.1.exposed": "yes"},
        "models.digits.versions.1.exposed: 'yes' is not valid; use true or false",
    ),
    (
        {"models.digits.versions.1.exposed": False},
        "models.digits.versions.1.exposed: false is not possible for a version with 90% of "
        "the traffic; expose it or move its traffic to another version",
    ),
    (
        {"models.digits.traffic": {"1": 90, "2": 20}},
        "models.digits.traffic: {'1': 90, '2': 20} adds up to 110; change the percentages so "
        "that they add up to 100",
    ),
    (
        {"models.digits.traffic": {"1": 90, "3": 10}},
        "models.digits.traffic.3: 10 is set for unknown version 3; known versions: 1, 2",
    ),
    (
        {"models.digits.traffic": ABSENT},
        "models.digits.traffic: is missing; set percentages that add up to 100; known versions: "
        "1, 2",
    ),
    (
        {"models.digits.traffic.1": 90.5},
        "models.digits.traffic.1: 90.5 is not valid; use an integer from 0 to 100",
    ),
    (
        {"models.digits.traffic.1": "90"},
        "models.digits.traffic.1: '90' is not valid; use an integer from 0 to 100",
    ),
    (
        {"models.digits.traffic": {"1": 110, "2": -10}},
        "models.digits.traffic.2: -10 is not valid; use an integer from 0 to 100",
    ),
    (
        {"models.digits.shadow": "3"},
        "models.digits.shadow: '3' is not a version of this model; known versions: 1, 2",
    ),
    (
        {"models.digits.shadow": "2"},
        "models.digits.shadow: '2' receives 10% of the traffic; a shadow version must receive none",
    ),
    (
        {"models.digits.versions.1.standby": "cold"},
        "models.digits.versions.1.standby: 'cold' requires a version that receives no requests, "
        "but "
        "this version is exposed or the shadow version; use warm",
    ),
    (
        {"models.digits.versions.1.standby": "tepid"},
        "models.digits.versions.1.standby: 'tepid' is not valid; use one of warm, cold",
    ),
    (
        {"models.digits.compute": "tpu"},
        "models.digits.compute: 'tpu' is not valid; use one of cpu, gpu",
    ),
    (
        {"models.digits.replicas": {"min": 3, "max": 2}},
        "models.digits.replicas.min: 3 exceeds max (2); lower min or raise max",
    ),
    (
        {"models.digits.replicas": {"min": 0}},
        "models.digits.replicas.min: 0 requires compute: gpu; with compute: cpu use 1 or more",
    ),
    (
        {"models.digits.resources": {"gpu": 1}},
        "models.digits.resources.gpu: 1 cannot be combined with compute: cpu; use 0 or set "
        "compute: gpu",
    ),
    (
        {"models.digits.compute": "gpu", "models.digits.resources": {"gpu": 0}},
        "models.digits.resources.gpu: 0 cannot be combined with compute: gpu; use 1 or more",
    ),
    (
        {"models.digits.resources": {"cpu": "1e3"}},
        'models.digits.resources.cpu: \'1e3\' is not valid; use cores such as "1" or "0.5", '
        'or millicores such as "500m", from 50m to 192',
    ),
    ({"models.digits.resources": {"cpu": "10m"}}, "models.digits.resources.cpu: '10m' is not va"),
    ({"models.digits.resources": {"cpu": True}}, "models.digits.resources.cpu: true is not valid"),
    (
        {"models.digits.resources": {"cpu": "1", "cpu_limit": "500m"}},
        "models.digits.resources.cpu_limit: '500m' is less than cpu (1); raise it or lower cpu",
    ),
    (
        {"models.digits.resources": {"memory": "512M"}},
        "models.digits.resources.memory: '512M' is not valid; use an integer followed by Mi "
        "or Gi, from 64Mi to 1536Gi",
    ),
    ({"models.digits.resources": {"memory": "1Mi"}}, "models.digits.resources.memory: '1Mi' is n"),
    (
        {"models.digits.serving": {"batch_size": 64, "max_batch": 32}},
        "models.digits.serving.batch_size: 64 exceeds max_batch (32); lower batch_size or raise "
        "max_batch",
    ),
    (
        {"models.digits.serving": {"deadline_seconds": 0}},
        "models.digits.serving.deadline_seconds: 0 is not valid; use a number greater than 0 and "
        "at most 3600",
    ),
    (
        {"models.digits-2": {"versions": {"1": {}}}, "models.digits.versions.2-1": {}},
        "models.digits-2.versions.1: has the same berth name, digits-2-1, as version 2-1 of "
        "digits; rename one of them",
    ),
    ({"gateway.clients": {}}, "gateway.clients: is not valid; use a map of 1 to 300 entries"),
    (
        {"gateway.clients.Team A": {}},
        f'gateway.clients["Team A"]: is not a valid name; use {_NAME}',
    ),
    (
        {"gateway.clients.default.rate_per_second": 0},
        "gateway.clients.default.rate_per_second: 0 is not valid; use a number greater than 0",
    ),
    (
        {"gateway.clients.default.rate_per_second": float("inf")},
        "gateway.clients.default.rate_per_second: inf is not valid; use a number greater than 0",
    ),
    (
        {"gateway.clients.default.quota": {"period": "day"}},
        "gateway.clients.default.quota.requests: is missing; set it to an integer from 1 to "
        "1000000000",
    ),
    (
        {"gateway.clients.default.quota.period": "year"},
        "gateway.clients.default.quota.period: is not valid; use one of hour, day, week, month",
    ),
    (
        {"gateway.clients.default": {"keys": {}}},
        "gateway.clients.default.keys: is empty; add a key, or jwt_subjects",
    ),
    (
        {"gateway.clients.default": {"keys": {"A": {}}}},
        "gateway.clients.default.keys.A: is not a valid name; use 1 to 40 lowercase letters",
    ),
    (
        {"gateway.clients.default": {"keys": {"a": {"expires": "tomorrow"}}}},
        "gateway.clients.default.keys.a.expires: is not valid; use a date or a UTC time in quotes",
    ),
    (
        {"gateway.clients.default": {"keys": {"a": {"expires": "2027-02-30"}}}},
        "gateway.clients.default.keys.a.expires: is not a date or time that exists; correct it",
    ),
    (
        {"gateway.clients.default": {"models": ["digitz"]}},
        "gateway.clients.default.models[0]: is not a model of this stack; known models: ",
    ),
    (
        {"gateway.clients.default": {"jwt_subjects": ["a"]}},
        "gateway.clients.default.jwt_subjects[0]: is set, but gateway.jwt is missing; add the "
        "issuer",
    ),
    (
        {
            "gateway.jwt": _JWT,
            "gateway.clients": {"a": {"jwt_subjects": ["x"]}, "b": {"jwt_subjects": ["x"]}},
        },
        "gateway.clients.b.jwt_subjects[0]: is also a subject of client a; remove one",
    ),
    (
        {"gateway.jwt": _JWT | {"jwks_file": "keys.json"}},
        "gateway.jwt: must have one of jwks_url and jwks_file; set one of them",
    ),
    (
        {"gateway.jwt": _JWT | {"jwks_url": "http://issuer.example/keys"}},
        "gateway.jwt.jwks_url: 'http://issuer.example/keys' is not valid; use an HTTPS URL",
    ),
    (
        {"gateway.blocking": {"rejections": 0}},
        "gateway.blocking.rejections: 0 is not valid; use an integer from 1 to 1000000000",
    ),
    (
        {"gateway.max_body_bytes": 10},
        "gateway.max_body_bytes: 10 is not valid; use an integer from 1024 to 1073741824",
    ),
    (
        {"local": {"gateway_port": 80}},
        "local.gateway_port: 80 is not valid; use an integer from 1024 to 65535",
    ),
    (
        {"local": {"gateway_port": 8080, "admin_port": 8080}},
        "local.admin_port: 8080 is also gateway_port; use two different ports",
    ),
    (
        {"parity": {"may_differ": ["node_pools.*.maximum"]}},
        "parity.may_differ[0]: 'node_pools.*.maximum' is not a key of the specification; use an",
    ),
    (
        {"policy": {"exceptions": [{**_EXCEPTION, "reason": "because"}]}},
        "policy.exceptions[0].reason: 'because' is not valid; use a reason of 10 to 400 characters",
    ),
    (
        {"policy": {"exceptions": [{**_EXCEPTION, "expires": "next year"}]}},
        "policy.exceptions[0].expires: 'next year' is not valid; use a date in quotes, such as",
    ),
    (
        {"policy": {"exceptions": [{**_EXCEPTION, "expires": "2027-02-30"}]}},
        "policy.exceptions[0].expires: '2027-02-30' is not a calendar date; use YYYY-MM-DD",
    ),
    (
        {"network": {}},
        "network: applies only to platform aws, but this stack uses local; remove it",
    ),
    (
        {"models.digits.versions.1": {"container": {"image": _SERVER}}},
        "models.digits.versions.1.container: needs a container engine, which platform local does "
        "not use; set berth:platform to docker, or package the model with processing of your own "
        "(berth package --with serve.py)",
    ),
    (
        {"images": {}},
        "images: applies only to platforms docker, kubernetes and aws, but this stack uses local; "
        "remove it",
    ),
]

KUBERNETES: list[tuple[Mapping[Any, Any], str]] = [
    (
        {"models.digits.versions.1": {"container": {"image": "example.com/own/server:1"}}},
        "models.digits.versions.1.container.image: 'example.com/own/server:1' is not valid; use an "
        "image by digest",
    ),
    (
        {"models.digits.versions.1": {"container": {"port": 9000}}},
        "models.digits.versions.1.container: needs one of image and context",
    ),
    (
        {"models.digits.versions.1": {"container": {"image": _SERVER, "context": "server"}}},
        "models.digits.versions.1.container: needs one of image and context",
    ),
    (
        {"models.digits.versions.1": {"container": {"context": "../server"}}},
        "models.digits.versions.1.container.context: '../server' is not valid; use a path relative",
    ),
    (
        {"models.digits.versions.1": {"container": {"image": _SERVER, "port": 80}}},
        "models.digits.versions.1.container.port: 80 is not valid; use an integer from 1024 to",
    ),
    (
        {"models.digits.versions.1": {"path": "models/x", "container": {"image": _SERVER}}},
        "models.digits.versions.1.path: cannot be combined with container; remove one of them",
    ),
    (
        {
            "models.digits.versions.1": {"container": {"image": _SERVER}},
            "models.digits.replicas": {"min": 1, "max": 2, "target_in_flight": 4},
        },
        "models.digits.replicas.target_in_flight: 4 cannot be combined with the container of "
        "version 1",
    ),
    (
        {"registry": ABSENT},
        "registry.url: is missing; set the registry that platform kubernetes pushes images to",
    ),
    (
        {"registry.url": "https://registry.example.com"},
        "registry.url: 'https://registry.example.com' is not valid; use a registry without a "
        "scheme",
    ),
    ({"registry.keep_images": 10}, "registry.keep_images: applies only to platform aws; remove it"),
    ({"edge": {"cdn": {}}}, "edge.cdn: applies only to platform aws; remove it"),
    (
        {"edge": {"sites": {"plant": {"kubeconfig": "plant.yaml", "models": ["digit"]}}}},
        "edge.sites.plant.models[0]: 'digit' is not a model of this stack; known models: ",
    ),
    (
        {"data": {"datasets": {"codes": {"version": "1", "models": ["digits"]}}}},
        "data.datasets.codes.source: is missing; platform kubernetes has no bucket of its own",
    ),
    (
        {
            "data": {
                "datasets": {
                    "codes": {"version": 1, "models": ["other"], "source": "pvc://codes/1"}
                }
            }
        },
        "data.datasets.codes.models[0]: 'other' is not a model of this stack; known models: ",
    ),
    (
        {"data": {"datasets": {"codes": {"version": 1, "models": ["digits"], "source": "/srv"}}}},
        "data.datasets.codes.source: '/srv' is not valid; use oci://registry/name, "
        "s3://bucket/prefix",
    ),
    (
        {"images": {"base": "gcr.io/distroless/python3:latest"}},
        "images.base: 'gcr.io/distroless/python3:latest' is not valid; use an image by digest",
    ),
    (
        {"kubernetes": {"namespace": "Berth"}},
        "kubernetes.namespace: 'Berth' is not valid; use 1 to 63 lowercase letters, digits and",
    ),
    (
        {"kubernetes": {"hostnames": ["localhost"]}},
        "kubernetes.hostnames[0]: 'localhost' is not valid; use a full host name in lowercase",
    ),
    (
        {"local": {}},
        "local: applies only to platform local, but this stack uses kubernetes; remove it",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), LOCAL, ids=[text[:60] for _, text in LOCAL])
def test_violated_rule_on_local_platform_is_reported(
    tmp_path: Path, changes: Mapping[Any, Any], expected: str
) -> None:
    lines = find_problems(tmp_path, config_of("local"), changes, "local")

    assert any(line.startswith(expected) for line in lines), lines


@pytest.mark.parametrize(
    ("changes", "expected"), KUBERNETES, ids=[text[:60] for _, text in KUBERNETES]
)
def test_violated_rule_on_kubernetes_is_reported(
    tmp_path: Path, changes: Mapping[Any, Any], expected: str
) -> None:
    config = YAML(typ="safe", pure=True).load(CLUSTER)["config"]

    lines = find_problems(tmp_path, config, changes, "plant")

    assert any(line.startswith(expected) for line in lines), lines


def test_smallest_kubernetes_stack_has_defaults(tmp_path: Path) -> None:
    spec = load(tmp_path, CLUSTER, "plant")

    assert spec.kubernetes.namespace == "berth"
    assert spec.images.architectures == ["amd64"]


def test_shadow_version_is_not_exposed_by_default(tmp_path: Path) -> None:
    changes = {
        "models.digits.versions": {**_TWO, "3": {}},
        "models.digits.shadow": "3",
    }

    digits = load(tmp_path, changed(config_of("local"), changes)).models["digits"]

    assert digits.shadow == "3"
    assert digits.exposed_versions == ["1", "2"]


def test_version_without_traffic_can_be_exposed(tmp_path: Path) -> None:
    changes = {
        "models.digits.versions": {"1": {}, "2": {"exposed": True}},
        "models.digits.traffic": {"1": 100},
    }

    digits = load(tmp_path, changed(config_of("local"), changes)).models["digits"]

    assert digits.exposed_versions == ["1", "2"]


def test_gpu_model_defaults_to_one_gpu_and_may_scale_to_zero(tmp_path: Path) -> None:
    changes = {"models.digits.compute": "gpu", "models.digits.replicas": {"min": 0, "max": 2}}

    digits = load(tmp_path, changed(config_of("dev"), changes), "dev").models["digits"]

    assert digits.resources.gpu == 1
    assert digits.replicas.min == 0


def test_error_of_one_message_has_one_problem() -> None:
    error = SpecError.of("Pulumi.local.yaml: something")

    assert str(error) == "Pulumi.local.yaml: something"
    assert error.problems == ["Pulumi.local.yaml: something"]
