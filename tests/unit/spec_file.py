"""Builders of configuration files for the tests of the specification."""

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.spec import HostingSpec, SpecError, load_file
from tests.repository import REPOSITORY

ABSENT = object()
"""As a value: remove the key."""

SMALLEST = """\
config:
  berth:platform: local
  berth:models:
    digits:
      versions:
        "1": {}
"""

CLUSTER = """\
config:
  berth:platform: kubernetes
  berth:models:
    digits:
      versions:
        "1": {}
  berth:registry: {url: registry.example.com/berth}
"""


def config_of(stack: str) -> dict[str, Any]:
    """Return the keys under `config:` in the repository's file for `stack`."""
    document = YAML(typ="safe", pure=True).load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
    config: dict[str, Any] = document["config"]
    return config


def load(directory: Path, text: str, stack: str = "local") -> HostingSpec:
    """Load the specification in `text` from a file for `stack`."""
    path = directory / f"Pulumi.{stack}.yaml"
    path.write_text(text)
    return load_file(path)


def problems(directory: Path, text: str, stack: str = "local") -> list[str]:
    """Return the problems of the specification in `text`."""
    with pytest.raises(SpecError) as caught:
        load(directory, text, stack)
    return caught.value.problems


def changed(config: Mapping[str, Any], changes: Mapping[Any, Any]) -> str:
    """Return `config` as YAML, with new values at dotted paths such as `models.digits.shadow`.

    Use a tuple of steps if a step contains a dot or belongs to a provider's namespace.
    """
    result: Any = copy.deepcopy(dict(config))
    for where, value in changes.items():
        section, *steps = where if isinstance(where, tuple) else where.split(".")
        path = [section if ":" in section else f"berth:{section}", *steps]
        node = result
        for step in path[:-1]:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        last = int(path[-1]) if isinstance(node, list) else path[-1]
        if value is ABSENT:
            del node[last]
        else:
            node[last] = value
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump({"config": result}, stream)
    return stream.getvalue()


def find_problems(tmp_path: Path, config: Mapping[str, Any], changes: Any, stack: str) -> list[str]:
    """Return the problems of a configuration with `changes`, each starting with its key."""
    prefix = f"Pulumi.{stack}.yaml"
    lines = problems(tmp_path, changed(config, changes), stack)
    assert all(line.startswith(prefix) for line in lines)
    return [line.partition(": berth:")[2] for line in lines]
