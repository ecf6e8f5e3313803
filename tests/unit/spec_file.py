"""Configuration files for the tests of the specification."""

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.spec import HostingSpec, SpecError, load_file
from tests.repository import REPOSITORY

ABSENT = object()  # as a value: the key is taken out

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
    """What the repository's own file of `stack` has under `config:`."""
    document = YAML(typ="safe", pure=True).load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
    found: dict[str, Any] = document["config"]
    return found


def load(folder: Path, text: str, stack: str = "local") -> HostingSpec:
    """The specification in `text`, as the file of `stack`."""
    path = folder / f"Pulumi.{stack}.yaml"
    path.write_text(text)
    return load_file(path)


def problems(folder: Path, text: str, stack: str = "local") -> list[str]:
    """What is wrong with `text`."""
    with pytest.raises(SpecError) as caught:
        load(folder, text, stack)
    return caught.value.problems


def changed(config: Mapping[str, Any], changes: Mapping[Any, Any]) -> str:
    """`config` as YAML, with other values at dotted paths such as `models.digits.shadow`.

    A step that has a dot itself, or is in the namespace of a provider, stands in a tuple.
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


def found(tmp_path: Path, config: Mapping[str, Any], changes: Any, stack: str) -> list[str]:
    """The problems of a configuration with `changes`, each from its key on."""
    prefix = f"Pulumi.{stack}.yaml"
    lines = problems(tmp_path, changed(config, changes), stack)
    assert all(line.startswith(prefix) for line in lines)
    return [line.partition(": berth:")[2] for line in lines]
