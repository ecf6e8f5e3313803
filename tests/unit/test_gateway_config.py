"""The gateway configuration that Berth builds from a specification."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pulumi
import pytest

from berth.platforms.hosted_models import (
    build_blocking,
    build_clients,
    build_jwt,
    build_models,
)
from berth.spec import HostingSpec, load_file
from berth_gateway.config import (
    Blocking,
    Client,
    GatewayConfig,
    Jwt,
    Key,
    Model,
    Quota,
    convert_config,
    encode_config,
    parse_config,
)
from pulumi_berth.gateway_config import build_gateway_config, declare_gateway_config
from pulumi_berth.hosted_models import (
    HostedModelArgs,
    HostedVersionArgs,
    find_newest_key,
    resolve_clients,
)
from pulumi_berth.images.built_image import Severity
from pulumi_berth.kubernetes.berth_plan import build_berth_plan
from pulumi_berth.kubernetes.hosting_args import DEFAULT_CONTROLLER_IMAGE, DEFAULT_METRICS_NAMESPACE
from pulumi_berth.serving_settings import ServingSettings
from tests.repository import REPOSITORY

_STACK = """\
config:
  berth:platform: local
  berth:models:
    digits:
      versions: {"1": {}, "2": {}, "3": {}}
      traffic: {"1": 90, "2": 10}
      shadow: "3"
  berth:gateway:
    max_body_bytes: 1048576
    timeout_seconds: 10
    clients:
      partner: {rate_per_second: 50, burst: 100, quota: {requests: 10000, period: day}}
      batch: {rate_per_second: 0.5, burst: 1}
"""
_DEFAULTS = """\
config:
  berth:platform: local
  berth:models: {digits: {versions: {"1": {}}}}
"""
DIGESTS = {"partner": {"default": "1" * 64}, "batch": {"default": "2" * 64}}
BLOCKING = Blocking(
    rejections=1000, invalid_keys=20, window_seconds=60, first_seconds=10, max_seconds=3600
)
URLS = {("digits", version): f"http://127.0.0.1:4100{version}" for version in ("1", "2", "3")}


@pytest.fixture
def spec(tmp_path: Path) -> HostingSpec:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(_STACK)
    return load_file(path)


def build_config(spec: HostingSpec, *, splits_traffic: bool) -> GatewayConfig:
    return build_gateway_config(
        build_models(spec, REPOSITORY),
        build_clients(spec),
        DIGESTS,
        URLS,
        max_body_bytes=spec.gateway.max_body_bytes,
        timeout_seconds=spec.gateway.timeout_seconds,
        body_memory_bytes=spec.gateway.body_memory_bytes,
        jwt=build_jwt(spec, REPOSITORY),
        blocking=build_blocking(spec),
        splits_traffic=splits_traffic,
    )


@pytest.fixture
def config(spec: HostingSpec) -> GatewayConfig:
    return build_config(spec, splits_traffic=True)


def test_memory_of_bodies_is_passed_to_both_programs(spec: HostingSpec) -> None:
    gateway = build_gateway_config({}, {}, {}, {}, body_memory_bytes=5_000_000, splits_traffic=True)
    assert gateway.body_memory_bytes == 5_000_000
    assert ServingSettings(body_memory_bytes=6).environment()["BERTH_BODY_MEMORY_BYTES"] == "6"
    assert "BERTH_BODY_MEMORY_BYTES" not in ServingSettings().environment()
    changed = spec.model_copy(
        update={"gateway": spec.gateway.model_copy(update={"body_memory_bytes": 7_000_000})}
    )
    assert build_config(changed, splits_traffic=False).body_memory_bytes == 7_000_000
    assert build_config(spec, splits_traffic=False).body_memory_bytes is None


def test_defaults_of_components_equal_those_of_the_specification(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(_DEFAULTS)
    spec = load_file(path)
    models = {"digits": HostedModelArgs(versions={"1": HostedVersionArgs(directory="digits/1")})}
    urls, digests = {("digits", "1"): "http://127.0.0.1:1"}, {"default": {"default": "1" * 64}}
    given = build_gateway_config(
        build_models(spec, REPOSITORY), build_clients(spec), digests, urls,
        max_body_bytes=spec.gateway.max_body_bytes, timeout_seconds=spec.gateway.timeout_seconds,
        blocking=build_blocking(spec), splits_traffic=True,
    )  # fmt: skip
    clients = resolve_clients(None)
    assert build_gateway_config(models, clients, digests, urls, splits_traffic=True) == given
    (model,) = build_models(spec, REPOSITORY).values()
    assert model.serving is not None
    assert ServingSettings().environment() == model.serving.environment()
    assert build_berth_plan(None, None) == build_berth_plan(model.replicas, model.resources)
    assert Severity(spec.images.scan.fail_on) is Severity.HIGH
    assert spec.kubernetes.controller_image == DEFAULT_CONTROLLER_IMAGE
    assert spec.kubernetes.metrics_namespace == DEFAULT_METRICS_NAMESPACE


def test_configuration_contains_limits_clients_and_models(config: GatewayConfig) -> None:
    assert config == GatewayConfig(
        max_body_bytes=1048576,
        timeout_seconds=10,
        clients=[
            Client(
                name="partner",
                keys=[Key(name="default", sha256="1" * 64)],
                rate_per_second=50,
                burst=100,
                quota=Quota(requests=10000, period="day"),
            ),
            Client(
                name="batch",
                keys=[Key(name="default", sha256="2" * 64)],
                rate_per_second=0.5,
                burst=1,
            ),
        ],
        models={
            "digits": Model(
                versions={version: url for (_, version), url in URLS.items()},
                exposed=["1", "2"],
                traffic={"1": 90, "2": 10},
                shadow="3",
            )
        },
        blocking=BLOCKING,
    )


def test_configuration_behind_ingress_controller_does_not_contain_weights(
    spec: HostingSpec,
) -> None:
    digits = spec.models["digits"].model_copy(update={"shadow": None})
    without_shadow = spec.model_copy(update={"models": {"digits": digits}})
    config = build_config(without_shadow, splits_traffic=False)
    assert config.models["digits"].traffic == {"1": 100}
    assert config.models["digits"].shadow is None
    assert config.models["digits"].shares == ["1", "2"]


def test_gateway_mirrors_also_behind_ingress_controller(spec: HostingSpec) -> None:
    config = build_config(spec, splits_traffic=False)
    assert config.models["digits"].traffic == {"1": 90, "2": 10}
    assert config.models["digits"].shadow == "3"


def test_configuration_is_accepted_by_gateway(config: GatewayConfig) -> None:
    assert parse_config(encode_config(config)) == config


def test_whole_numbers_survive_the_floats_of_pulumi(config: GatewayConfig) -> None:
    def to_floats(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: to_floats(item) for key, item in value.items()}
        if isinstance(value, list):
            return [to_floats(item) for item in value]
        return float(value) if type(value) is int else value

    restored = convert_config(to_floats(msgspec.to_builtins(config)))
    assert encode_config(restored) == encode_config(config)


async def test_declared_configuration_contains_key_digests_and_no_keys(spec: HostingSpec) -> None:
    keys = {name: f"key-of-{name}" for name in DIGESTS}
    output = declare_gateway_config(
        build_models(spec, REPOSITORY),
        build_clients(spec),
        {name: {"default": pulumi.Output.secret(key)} for name, key in keys.items()},
        {version: pulumi.Output.from_input(url) for version, url in URLS.items()},
        max_body_bytes=None,
        timeout_seconds=None,
        splits_traffic=True,
    )
    config = await output.future()
    assert config is not None
    assert not await output.is_secret()
    assert [key.sha256 for client in convert_config(config).clients for key in client.keys] == [
        sha256(key.encode()).hexdigest() for key in keys.values()
    ]
    assert "key-of" not in json.dumps(config)


def test_importing_configuration_imports_no_server() -> None:
    script = "import berth_gateway.config, json, sys; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert not {"aiohttp", "uvicorn", "uvloop", "prometheus_client"} & set(json.loads(output))


_ACCESS = """\
config:
  berth:platform: local
  berth:models: {digits: {versions: {"1": {}}}, iris: {versions: {"1": {}}}}
  berth:gateway:
    jwt: {issuer: "https://issuer.example", audience: berth, jwks_file: "keys.json"}
    blocking: {rejections: 5, max_seconds: 30}
    clients:
      rotating:
        keys: {old: {expires: "2027-03-31"}, next: {}, later: {expires: "2027-04-01T06:00:00Z"}}
        models: [digits]
      tokens: {keys: {}, jwt_subjects: [service-7]}
"""


def test_configuration_contains_keys_permissions_issuer_and_blocking(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(_ACCESS)
    (tmp_path / "keys.json").write_text('{"keys": []}')
    spec = load_file(path)
    names = ("old", "next", "later")
    config = build_gateway_config(
        {"digits": build_models(spec, REPOSITORY)["digits"]},  # An edge site without iris.
        build_clients(spec),
        {"rotating": {name: str(i) * 64 for i, name in enumerate(names)}, "tokens": {}},
        {("digits", "1"): "http://127.0.0.1:1"},
        jwt=build_jwt(spec, tmp_path),
        blocking=build_blocking(spec),
        splits_traffic=True,
    )
    assert parse_config(encode_config(config)) == config
    rotating, tokens = config.clients
    assert {key.name: key.expires and key.expires.isoformat() for key in rotating.keys} == {
        "old": "2027-03-31T00:00:00+00:00",
        "next": None,
        "later": "2027-04-01T06:00:00+00:00",
    }
    assert (rotating.models, tokens.models) == (["digits"], None)
    assert (tokens.keys, tokens.subjects) == ([], ["service-7"])
    assert config.jwt == Jwt(
        issuer="https://issuer.example", audience="berth", client_claim="sub", jwks={"keys": []}
    )
    assert config.blocking == Blocking(
        rejections=5, invalid_keys=20, window_seconds=60, first_seconds=10, max_seconds=30
    )
    assert find_newest_key(build_clients(spec)["rotating"]) == "next"
    assert find_newest_key(build_clients(spec)["tokens"]) is None


def test_models_of_client_are_limited_to_those_that_are_hosted(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(_ACCESS.replace("models: [digits]", "models: [digits, iris]"))
    spec = load_file(path)
    config = build_gateway_config(
        {"iris": build_models(spec, REPOSITORY)["iris"]},
        {"rotating": build_clients(spec)["rotating"]},
        {"rotating": dict.fromkeys(("old", "next", "later"), "1" * 64)},
        {("iris", "1"): "http://127.0.0.1:1"},
        splits_traffic=True,
    )
    assert config.clients[0].models == ["iris"]
