"""Clients keep their keys when another Region serves them."""

from pathlib import Path
from typing import Any

import pytest

from berth.spec import SpecError, load_file
from tests.aws.reality.declared import BEHIND_OTHER_STACK, declare, find_resources
from tests.unit.spec_file import changed, config_of

_LATENCY = {"latency_routing": {"domain": {"name": "a.example.com", "zone": "example.com"}}}
_KEY = {"secure": "v1:key"}


def _write(directory: Path, client: dict[str, Any]) -> Path:
    path = directory / "Pulumi.dev.yaml"
    sections = {"edge": _LATENCY, "gateway.clients.default": client}
    path.write_text(changed(config_of("dev"), sections))
    return path


@pytest.mark.parametrize("client", [{}, {"keys": {"a": {"key": _KEY}, "b": {}}}])
def test_key_that_each_region_would_generate_is_refused(
    client: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="each would generate its own key; set the same key"):
        load_file(_write(tmp_path, client))


@pytest.mark.parametrize("client", [{"key": _KEY}, {"keys": {"a": {"key": _KEY}}}])
def test_configured_keys_are_accepted(client: dict[str, Any], tmp_path: Path) -> None:
    assert load_file(_write(tmp_path, client)).edge.latency_routing is not None


def _find_generated_keys(resources: list[dict[str, Any]]) -> list[str]:
    """Return the names of keys that the stack generates for the client `default`."""
    found = find_resources(resources, ":ApiKey")
    return [one["name"] for one in found if one["inputs"].get("client") == "default"]


@pytest.mark.slow
def test_stack_in_several_regions_generates_no_keys() -> None:
    assert _find_generated_keys(declare("dev", **BEHIND_OTHER_STACK)) == []
    assert _find_generated_keys(declare("dev")) == ["default"]
