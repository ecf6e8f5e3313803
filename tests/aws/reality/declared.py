"""The resources that the stacks dev and prod declare, without an engine or a cloud."""

import json
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from berth.operations.declarations import read_declarations
from tests.repository import REPOSITORY

Resource = dict[str, Any]


def declare(stack: str, **sections: Any) -> list[Resource]:
    """Return the resources of a stack of this repository.

    Args:
        sections: Sections of the specification, such as `edge`, that replace those of the file.
    """
    return _declare(stack, json.dumps(sections, sort_keys=True))


@lru_cache(maxsize=16)
def _declare(stack: str, sections: str) -> list[Resource]:
    content = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
    replaced = json.loads(sections)
    content["config"] |= {f"berth:{name}": value for name, value in replaced.items()}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"Pulumi.{stack}.yaml"
        file.write_text(yaml.safe_dump(content))
        return read_declarations(str(file))


def find_resources(resources: list[Resource], kind: str) -> Iterator[Resource]:
    """Yield the resources whose type token ends with `kind`, such as `:Service`."""
    return (resource for resource in resources if resource["type"].endswith(kind))
