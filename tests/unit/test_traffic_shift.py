"""Traffic that moves without an update ends as an update to the same specification leaves it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from berth.operations.traffic_shift import find_warm_models
from berth.platforms.hosted_models import build_clients, build_models
from berth.platforms.kubernetes.shift_traffic import plan_rules
from berth.platforms.shifted_gateway import shift_gateway_config
from berth.spec import HostingSpec
from berth_gateway.config import convert_config as convert
from berth_gateway.config import encode_config
from berth_protocol.paths import infer_path
from pulumi_berth.gateway_config import build_gateway_config
from pulumi_berth.kubernetes.route_plan import RoutePlan, build_route_rules
from pulumi_berth.kubernetes.traefik import build_share
from pulumi_berth.traffic_rules import get_receivers
from tests.unit.spec_file import load

_FILTERS = [{"type": "ExtensionRef", "extensionRef": {"name": "authorize"}}]
_BODY_FILTERS = [{"type": "ExtensionRef", "extensionRef": {"name": "body"}}]
_GATEWAY = {"name": "gateway", "port": 8080}
_KEY = "0" * 64


def read_spec(directory: Path, digits: str, *, versions: str = '{"1": {}, "2": {}}') -> HostingSpec:
    text = f"""\
config:
  berth:platform: local
  berth:models:
    digits: {{versions: {versions}, {digits}}}
    other: {{versions: {{"1": {{}}}}}}
"""
    return load(directory, text)


def build_config(spec: HostingSpec, directory: Path) -> dict[str, Any]:
    models = build_models(spec, directory)
    urls = {
        (name, v): f"http://{name}-{v}" for name, model in models.items() for v in model.versions
    }
    config = build_gateway_config(
        models,
        build_clients(spec),
        {name: {"default": _KEY} for name in spec.gateway.clients},
        urls,
        splits_traffic=True,
    )
    content: dict[str, Any] = msgspec.to_builtins(config)
    return content


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('traffic: {"1": 50, "2": 50}', 'traffic: {"1": 100, "2": 0}'),
        ('traffic: {"1": 0, "2": 100}', 'traffic: {"1": 100, "2": 0}'),
        ('traffic: {"1": 100}, shadow: "2"', 'traffic: {"1": 100, "2": 0}'),
    ],
)
def test_shifted_gateway_configuration_is_that_of_the_update(
    tmp_path: Path, before: str, after: str
) -> None:
    deployed = build_config(read_spec(tmp_path, before), tmp_path)
    target = read_spec(tmp_path, after)
    config, shifted = shift_gateway_config(deployed, {"digits": target.models["digits"]})
    assert shifted == ["digits"]
    declared = build_config(target, tmp_path)
    assert encode_config(convert(config)) == encode_config(convert(declared))


def test_gateway_keeps_a_model_whose_version_it_does_not_know(tmp_path: Path) -> None:
    deployed = build_config(read_spec(tmp_path, 'traffic: {"1": 100}'), tmp_path)
    target = read_spec(tmp_path, 'traffic: {"3": 100}', versions='{"1": {}, "3": {}}')
    config, shifted = shift_gateway_config(deployed, target.models)
    assert shifted == []
    assert encode_config(convert(config)) == encode_config(convert(deployed))


def build_rules(spec: HostingSpec) -> list[dict[str, Any]]:
    """Return the rules that an update declares, as `hosting_entry` plans them."""
    model = spec.models["digits"]
    backends = {v: {"kind": "TraefikService", "name": f"n-{v}"} for v in model.exposed_versions}
    receivers = get_receivers(model.traffic)
    split = {v: build_share("digits", v) if len(receivers) > 1 else backends[v] for v in receivers}
    plan = RoutePlan(
        model="digits",
        split_backends={} if model.shadow else split,
        traffic={} if model.shadow else model.traffic,
        version_backends=backends,
        gateway=_GATEWAY,
    )
    return build_route_rules(plan, _FILTERS, _BODY_FILTERS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('traffic: {"1": 95, "2": 5}', 'traffic: {"1": 100, "2": 0}'),
        ('traffic: {"1": 50, "2": 50}', 'traffic: {"1": 95, "2": 5}'),
    ],
)
def test_shifted_route_is_that_of_the_update(tmp_path: Path, before: str, after: str) -> None:
    target = read_spec(tmp_path, after)
    rules = plan_rules("digits", build_rules(read_spec(tmp_path, before)), target.models["digits"])
    assert rules == build_rules(target)


def test_version_without_a_route_is_reached_at_its_service(tmp_path: Path) -> None:
    deployed = build_rules(read_spec(tmp_path, 'traffic: {"1": 0, "2": 100}'))
    target = read_spec(tmp_path, 'traffic: {"1": 100, "2": 0}')
    rules = plan_rules("digits", deployed, target.models["digits"])
    assert rules is not None
    assert rules[0]["backendRefs"] == [{"name": "digits-1", "port": 8080, "weight": 100}]
    paths = {match["path"]["value"] for rule in rules for match in rule["matches"]}
    assert infer_path("digits", "2") not in paths


def test_route_of_a_shadowed_model_is_left_to_the_update(tmp_path: Path) -> None:
    deployed = build_rules(read_spec(tmp_path, 'traffic: {"1": 100}, shadow: "2"'))
    target = read_spec(tmp_path, 'traffic: {"1": 100, "2": 0}')
    assert plan_rules("digits", deployed, target.models["digits"]) is None


def observe(**states: str) -> dict[str, Any]:
    versions = {name.removeprefix("v"): {"state": state} for name, state in states.items()}
    return {"models": {"digits": {"versions": versions}}}


@pytest.mark.parametrize(
    ("versions", "states", "warm"),
    [
        ('{"1": {}, "2": {}}', {"v1": "ready", "v2": "ready"}, ["digits"]),
        ('{"1": {exposed: true}, "2": {}}', {"v1": "ready", "v2": "ready"}, ["digits"]),
        ('{"1": {}, "2": {}}', {"v1": "cold", "v2": "ready"}, []),
        ('{"2": {}}', {"v2": "ready"}, []),
        ('{"1": {path: elsewhere}, "2": {}}', {"v1": "ready", "v2": "ready"}, []),
    ],
    ids=["runs", "exposed", "cold", "removed", "another model"],
)
def test_model_is_warm_while_its_earlier_version_runs_unchanged(
    tmp_path: Path, versions: str, states: dict[str, str], warm: list[str]
) -> None:
    current = read_spec(tmp_path, 'traffic: {"2": 100}', versions=versions)
    target = read_spec(tmp_path, 'traffic: {"1": 100}')
    assert find_warm_models(current, target, observe(**states)) == warm
    assert find_warm_models(target, target, observe(**states)) == []
