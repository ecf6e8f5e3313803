"""Every rule of the specification, broken once: the key, the value, and what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.spec import SpecError
from tests.unit.spec_file import ABSENT, CLUSTER, changed, config_of, found, load

_TWO: dict[str, Any] = {"1": {}, "2": {}}
_EXCEPTION = {
    "rule": "no-public-bucket",
    "resource": "access-log",
    "reason": "moves away next month",
    "expires": "2027-03-31",
}
_NAME = "1 to 40 lower-case letters, digits and hyphens, a letter first, no hyphen last"
_VERSION = "1 to 16 lower-case letters, digits, dots and hyphens, a letter or digit at both ends"

LOCAL: list[tuple[Mapping[Any, Any], str]] = [
    ({"platform": "azure"}, "platform: 'azure' is not allowed; one of local, kubernetes, aws"),
    ({"platform": ABSENT}, "platform: is missing; one of local, kubernetes, aws"),
    ({"models": ABSENT}, "models: is missing; a map of 1 to 1000 entries"),
    ({"models": {}}, "models: {} is not allowed; a map of 1 to 1000 entries"),
    ({"models": []}, "models: [] is not allowed; a map of 1 to 1000 entries"),
    ({"models.Digits": {"versions": {"1": {}}}}, f"models.Digits: is not a name for this; {_NAME}"),
    ({"models.a-": {"versions": {"1": {}}}}, f"models.a-: is not a name for this; {_NAME}"),
    (
        {"models." + "m" * 41: {"versions": {"1": {}}}},
        f"models.{'m' * 41}: is not a name for this; {_NAME}",
    ),
    ({"models.digits.versions": ABSENT}, "models.digits.versions: is missing; a map of 1 to 50"),
    ({"models.digits.versions": {}}, "models.digits.versions: {} is not allowed; a map of 1 to 50"),
    (
        {("models", "digits", "versions", "v 1"): {}},
        f'models.digits.versions["v 1"]: is not a name for this; {_VERSION}',
    ),
    (
        {("models", "digits", "versions", "1" * 17): {}},
        f"models.digits.versions.{'1' * 17}: is not a name for this; {_VERSION}",
    ),
    (
        {"models.digits.versions.1": None},
        "models.digits.versions.1: null is not allowed; a map with the keys path, digest, exposed",
    ),
    (
        {"models.digits.versions.1.path": "/srv/models"},
        "models.digits.versions.1.path: '/srv/models' is not allowed; a path relative to the "
        "project, which does not leave it",
    ),
    (
        {"models.digits.versions.1.path": "models/../../elsewhere"},
        "models.digits.versions.1.path: 'models/../../elsewhere' is not allowed; a path relative",
    ),
    (
        {"models.digits.versions.1.digest": "sha256:abc"},
        "models.digits.versions.1.digest: 'sha256:abc' is not allowed; sha256: and 64 hexadecimal",
    ),
    (
        {"models.digits.versions.1.exposed": "yes"},
        "models.digits.versions.1.exposed: 'yes' is not allowed; true or false",
    ),
    (
        {"models.digits.versions.1.exposed": False},
        "models.digits.versions.1.exposed: false but the version has 90 % of the traffic; expose "
        "it, or give its traffic to another version",
    ),
    (
        {"models.digits.traffic": {"1": 90, "2": 20}},
        "models.digits.traffic: {'1': 90, '2': 20} adds up to 110; percents must add up to 100",
    ),
    (
        {"models.digits.traffic": {"1": 90, "3": 10}},
        "models.digits.traffic.3: 10 is for a version that is not there; the versions are 1, 2",
    ),
    (
        {"models.digits.traffic": ABSENT},
        "models.digits.traffic: is missing; give percents that add up to 100: the versions are "
        "1, 2",
    ),
    (
        {"models.digits.traffic.1": 90.5},
        "models.digits.traffic.1: 90.5 is not allowed; a whole number from 0 to 100",
    ),
    (
        {"models.digits.traffic.1": "90"},
        "models.digits.traffic.1: '90' is not allowed; a whole number from 0 to 100",
    ),
    (
        {"models.digits.traffic": {"1": 110, "2": -10}},
        "models.digits.traffic.2: -10 is not allowed; a whole number from 0 to 100",
    ),
    (
        {"models.digits.shadow": "3"},
        "models.digits.shadow: '3' is not a version of this model; the versions are 1, 2",
    ),
    (
        {"models.digits.shadow": "2"},
        "models.digits.shadow: '2' has 10 % of the traffic; a shadow must have none",
    ),
    (
        {"models.digits.versions.1.standby": "cold"},
        "models.digits.versions.1.standby: 'cold' is for a version that nothing reaches; this one "
        "is exposed or the shadow",
    ),
    (
        {"models.digits.versions.1.standby": "tepid"},
        "models.digits.versions.1.standby: 'tepid' is not allowed; one of warm, cold",
    ),
    (
        {"models.digits.compute": "tpu"},
        "models.digits.compute: 'tpu' is not allowed; one of cpu, gpu",
    ),
    (
        {"models.digits.replicas": {"min": 3, "max": 2}},
        "models.digits.replicas.min: 3 is above max, 2; min must not be above max",
    ),
    (
        {"models.digits.replicas": {"min": 0}},
        "models.digits.replicas.min: 0 is for compute: gpu only; with compute: cpu 1 or more",
    ),
    (
        {"models.digits.resources": {"gpu": 1}},
        "models.digits.resources.gpu: 1 does not go with compute: cpu; 0, or compute: gpu",
    ),
    (
        {"models.digits.compute": "gpu", "models.digits.resources": {"gpu": 0}},
        "models.digits.resources.gpu: 0 does not go with compute: gpu; 1 or more",
    ),
    (
        {"models.digits.resources": {"cpu": "1e3"}},
        'models.digits.resources.cpu: \'1e3\' is not allowed; cores as "1" or "0.5", or '
        'thousandths as "500m"; 50m to 192',
    ),
    ({"models.digits.resources": {"cpu": "10m"}}, "models.digits.resources.cpu: '10m' is not al"),
    ({"models.digits.resources": {"cpu": True}}, "models.digits.resources.cpu: true is not allow"),
    (
        {"models.digits.resources": {"memory": "512M"}},
        "models.digits.resources.memory: '512M' is not allowed; a whole number with Mi or Gi; "
        "64Mi to 1536Gi",
    ),
    ({"models.digits.resources": {"memory": "1Mi"}}, "models.digits.resources.memory: '1Mi' is n"),
    (
        {"models.digits.serving": {"batch_size": 64, "max_batch": 32}},
        "models.digits.serving.batch_size: 64 is above max_batch, 32; it must not be",
    ),
    (
        {"models.digits.serving": {"deadline_seconds": 0}},
        "models.digits.serving.deadline_seconds: 0 is not allowed; a number above 0, 3600 at most",
    ),
    (
        {"models.digits-2": {"versions": {"1": {}}}, "models.digits.versions.2-1": {}},
        "models.digits-2.versions.1: has the same berth name, digits-2-1, as version 2-1 of "
        "digits; rename one of them",
    ),
    ({"gateway.clients": {}}, "gateway.clients: is not allowed; a map of 1 to 300 entries"),
    (
        {"gateway.clients.Team A": {}},
        f'gateway.clients["Team A"]: is not a name for this; {_NAME}',
    ),
    (
        {"gateway.clients.default.rate_per_second": 0},
        "gateway.clients.default.rate_per_second: 0 is not allowed; a number above 0, 100000 at",
    ),
    (
        {"gateway.clients.default.rate_per_second": float("inf")},
        "gateway.clients.default.rate_per_second: inf is not allowed; a number above 0, 100000 at",
    ),
    (
        {"gateway.clients.default.quota": {"period": "day"}},
        "gateway.clients.default.quota.requests: is missing; a whole number from 1 to 1000000000",
    ),
    (
        {"gateway.clients.default.quota.period": "year"},
        "gateway.clients.default.quota.period: is not allowed; one of hour, day, week, month",
    ),
    (
        {"gateway.max_body_bytes": 10},
        "gateway.max_body_bytes: 10 is not allowed; a whole number from 1024 to 1073741824",
    ),
    (
        {"local": {"gateway_port": 80}},
        "local.gateway_port: 80 is not allowed; a whole number from 1024 to 65535",
    ),
    (
        {"local": {"gateway_port": 8080, "admin_port": 8080}},
        "local.admin_port: 8080 is gateway_port too; give two different ports",
    ),
    (
        {"parity": {"may_differ": ["node_pools.*.maximum"]}},
        "parity.may_differ[0]: 'node_pools.*.maximum' is not a key of the specification; one with",
    ),
    (
        {"policy": {"exceptions": [{**_EXCEPTION, "reason": "because"}]}},
        "policy.exceptions[0].reason: 'because' is not allowed; 10 to 400 characters that say why",
    ),
    (
        {"policy": {"exceptions": [{**_EXCEPTION, "expires": "next year"}]}},
        "policy.exceptions[0].expires: 'next year' is not allowed; a day in quotes, such as",
    ),
    (
        {"policy": {"exceptions": [{**_EXCEPTION, "expires": "2027-02-30"}]}},
        "policy.exceptions[0].expires: '2027-02-30' is no day of the calendar; year-month-day",
    ),
    (
        {"network": {}},
        "network: is for platform aws, and this stack's is local; take it out",
    ),
    (
        {"images": {}},
        "images: is for platform kubernetes and aws, and this stack's is local; take it out",
    ),
]

KUBERNETES: list[tuple[Mapping[Any, Any], str]] = [
    (
        {"registry": ABSENT},
        "registry.url: is missing; platform kubernetes needs the registry to push images to",
    ),
    (
        {"registry.url": "https://registry.example.com"},
        "registry.url: 'https://registry.example.com' is not allowed; a registry without a scheme",
    ),
    ({"registry.keep_images": 10}, "registry.keep_images: is for platform aws only; take it out"),
    ({"edge": {"cdn": {}}}, "edge.cdn: is for platform aws only; take it out"),
    (
        {"edge": {"sites": {"plant": {"kubeconfig": "plant.yaml", "models": ["digit"]}}}},
        "edge.sites.plant.models[0]: 'digit' is not a model of this stack; one of digits",
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
        "data.datasets.codes.models[0]: 'other' is not a model of this stack; one of digits",
    ),
    (
        {"data": {"datasets": {"codes": {"version": 1, "models": ["digits"], "source": "/srv"}}}},
        "data.datasets.codes.source: '/srv' is not allowed; oci://registry/name, s3://bucket/prefix",
    ),
    (
        {"images": {"base": "gcr.io/distroless/python3:latest"}},
        "images.base: 'gcr.io/distroless/python3:latest' is not allowed; an image by digest",
    ),
    (
        {"kubernetes": {"namespace": "Berth"}},
        "kubernetes.namespace: 'Berth' is not allowed; 1 to 63 lower-case letters, digits and",
    ),
    (
        {"kubernetes": {"hostnames": ["localhost"]}},
        "kubernetes.hostnames[0]: 'localhost' is not allowed; a full host name in lower case",
    ),
    ({"local": {}}, "local: is for platform local, and this stack's is kubernetes; take it out"),
]


@pytest.mark.parametrize(("changes", "expected"), LOCAL, ids=[text[:60] for _, text in LOCAL])
def test_a_broken_rule_on_this_machine(
    tmp_path: Path, changes: Mapping[Any, Any], expected: str
) -> None:
    told = found(tmp_path, config_of("local"), changes, "local")

    assert any(line.startswith(expected) for line in told), told


@pytest.mark.parametrize(
    ("changes", "expected"), KUBERNETES, ids=[text[:60] for _, text in KUBERNETES]
)
def test_a_broken_rule_on_a_cluster(
    tmp_path: Path, changes: Mapping[Any, Any], expected: str
) -> None:
    config = YAML(typ="safe", pure=True).load(CLUSTER)["config"]

    told = found(tmp_path, config, changes, "plant")

    assert any(line.startswith(expected) for line in told), told


def test_the_smallest_stack_on_a_cluster(tmp_path: Path) -> None:
    spec = load(tmp_path, CLUSTER, "plant")

    assert spec.kubernetes.namespace == "berth"
    assert spec.images.architectures == ["amd64"]


def test_a_shadow_may_be_neither_exposed_nor_in_the_traffic(tmp_path: Path) -> None:
    changes = {
        "models.digits.versions": {**_TWO, "3": {}},
        "models.digits.shadow": "3",
    }

    digits = load(tmp_path, changed(config_of("local"), changes)).models["digits"]

    assert digits.shadow == "3"
    assert digits.exposed_versions == ["1", "2"]


def test_a_version_may_be_exposed_without_traffic(tmp_path: Path) -> None:
    changes = {
        "models.digits.versions": {"1": {}, "2": {"exposed": True}},
        "models.digits.traffic": {"1": 100},
    }

    digits = load(tmp_path, changed(config_of("local"), changes)).models["digits"]

    assert digits.exposed_versions == ["1", "2"]


def test_a_gpu_model_gets_one_gpu_and_may_rest_at_none(tmp_path: Path) -> None:
    changes = {"models.digits.compute": "gpu", "models.digits.replicas": {"min": 0, "max": 2}}

    digits = load(tmp_path, changed(config_of("dev"), changes), "dev").models["digits"]

    assert digits.resources.gpu == 1
    assert digits.replicas.min == 0


def test_the_message_of_one_problem() -> None:
    error = SpecError.of("Pulumi.local.yaml: something")

    assert str(error) == "Pulumi.local.yaml: something"
    assert error.problems == ["Pulumi.local.yaml: something"]
