"""Property-based tests of the specification."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from berth.spec import HostingSpec, NetworkSpec, SpecError
from berth.spec.fields import parse_memory_bytes, parse_millicores
from tests.unit.spec_file import config_of, load

_SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_names = st.from_regex(r"\A[a-z]([a-z0-9-]{0,10}[a-z0-9])?\Z")
_versions = st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,6}[a-z0-9])?\Z")


@st.composite
def _splits(draw: st.DrawFn) -> dict[str, int]:
    """Generate versions with percentages that add up to 100."""
    names = draw(st.lists(_versions, min_size=1, max_size=6, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(names) - 1, max_size=99)))
    edges = [0, *cuts[: len(names) - 1], 100]
    return {name: edges[i + 1] - edges[i] for i, name in enumerate(names)}


def _document(traffic: dict[str, int]) -> dict[str, Any]:
    return {
        "platform": "local",
        "models": {"m": {"versions": {name: {} for name in traffic}, "traffic": traffic}},
    }


def _berth_names(traffic: dict[str, int]) -> set[str]:
    return {name.replace(".", "-") for name in traffic}


@_SETTINGS
@given(_splits())
def test_traffic_adding_up_to_100_exposes_versions_with_traffic(
    traffic: dict[str, int],
) -> None:
    if len(_berth_names(traffic)) < len(traffic):
        return  # Versions 1.0 and 1-0 have the same berth name and are rejected.
    model = HostingSpec.model_validate(_document(traffic)).models["m"]

    assert model.traffic == traffic
    assert set(model.exposed_versions) == {name for name, part in traffic.items() if part > 0}


@_SETTINGS
@given(_splits(), st.integers(-100, 100).filter(bool))
def test_traffic_not_adding_up_to_100_is_rejected(traffic: dict[str, int], change: int) -> None:
    first = next(iter(traffic))
    with pytest.raises(
        ValueError, match=r"add up to 100|an integer from 0 to 100|less than|greater than"
    ):
        HostingSpec.model_validate(_document({**traffic, first: traffic[first] + change}))


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in `node`, except its own."""
    steps = node.items() if isinstance(node, dict) else enumerate(node)
    children = [((*path, step), value) for step, value in steps]
    nested = [p for child, v in children if isinstance(v, dict | list) for p in _paths(v, child)]
    return [child for child, _ in children] + nested


_DEV = config_of("dev")
_dev_paths = st.sampled_from(_paths(_DEV))


@settings(parent=_SETTINGS, max_examples=200)
@given(path=_dev_paths, value=_values)
@pytest.mark.slow
def test_any_value_at_any_path_is_accepted_or_reported(
    tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    config = copy.deepcopy(_DEV)
    node: Any = config
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value

    try:
        spec = load(tmp_path, _yaml(config), "dev")
    except SpecError as error:
        lines = error.problems
    else:
        lines = [f"Pulumi.dev.yaml: {spec.platform}"]

    assert lines
    assert all(line.startswith("Pulumi.dev.yaml") for line in lines)
    assert all("\n" not in line for line in lines)


def _yaml(config: dict[str, Any]) -> str:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump({"config": config}, stream)
    return stream.getvalue()


@_SETTINGS
@given(st.text(max_size=200))
def test_any_text_as_file_is_reported(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError):
        load(tmp_path, text)


@_SETTINGS
@given(secret=st.from_regex(r"\A[a-z]{12}\Z"), key=_names)
def test_error_never_contains_client_secret(tmp_path: Path, secret: str, key: str) -> None:
    config: dict[str, Any] = {
        "berth:platform": "local",
        "berth:models": {"m": {"versions": {"1": {}}}},
        "berth:gateway": {"clients": {"c": {key: secret, "key": secret}}},
    }
    with pytest.raises(SpecError) as caught:
        load(tmp_path, json.dumps({"config": config}))

    assert secret not in str(caught.value)


@_SETTINGS
@given(st.integers(16, 28), st.integers(2, 6))
def test_network_is_accepted_only_if_subnets_fit(prefix: int, zones: int) -> None:
    fits = 2 ** (24 - prefix) >= 2 * zones if prefix <= 24 else False
    section = {"cidr": f"10.0.0.0/{prefix}", "availability_zones": zones}

    if fits:
        assert NetworkSpec.model_validate(section).availability_zones == zones
    else:
        with pytest.raises(ValueError, match="too small"):
            NetworkSpec.model_validate(section)


@_SETTINGS
@given(st.integers(1, 999_999))
def test_quantities_match_kubernetes(amount: int) -> None:
    assert parse_millicores(f"{amount}m") == amount
    assert parse_memory_bytes(f"{amount}Gi") == 1024 * parse_memory_bytes(f"{amount}Mi")


@pytest.mark.parametrize(("text", "expected"), [("1", 1000), ("0.5", 500), ("1.25", 1250)])
def test_cores_are_converted_to_millicores(text: str, expected: int) -> None:
    assert parse_millicores(text) == expected
