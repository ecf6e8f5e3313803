"""The resources that the stacks dev and prod declare, without an engine or a cloud.

Each program runs once per process, so tests must not change what these functions return.
"""

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

ROLE = "arn:aws:iam::210987654321:role/deployer"
ADDRESS, VPN_RANGE = "203.0.113.7", "10.99.0.0/16"
CONFIGURED: dict[str, Any] = {
    "aws:profile": "work",
    "aws:assumeRoles": [{"roleArn": ROLE, "externalId": "partner"}],
    "api": {"domain": {"name": "api.example.com", "zone": "example.com"}},
    "budget": {"monthly_usd": 5.0, "notify": ["b@ml.test"], "scope": "stack"},
    "cluster": {
        "endpoint": "public_and_private",
        "public_cidrs": [f"{ADDRESS}/32"],
        "private_cidrs": [VPN_RANGE],
        "access": {"a": {"role": "deployer"}},
    },
    "edge": {},
    "observability": {"notify": ["a@example.com"]},
}
"""A stack with what dev and prod leave out, and with API Gateway as its entry point."""
BEHIND_OTHER_STACK: dict[str, Any] = {
    "edge": {
        "latency_routing": {
            "domain": {"name": "a.example.com", "zone": "example.com"},
            "stacks": ["other"],
            "cdn_stack": "other",
        }
    },
    "gateway": {"clients": {"default": {"key": {"secure": "v1:key"}}}, "timeout_seconds": 29},
}
"""A stack whose entry point is the edge endpoint of a stack in another Region."""


def declare(stack: str, **sections: Any) -> list[Resource]:
    """Return the resources of a stack of this repository: `type`, `name`, `inputs`, `urn`.

    Outputs of other resources are text such as `arn of aws:iam/role:Role nodes`.

    Args:
        sections: Sections of the specification, such as `edge`, that replace those of the file, and
            settings of the AWS provider, such as `aws:profile`.
    """
    return _declare(stack, json.dumps(sections, sort_keys=True))


@lru_cache(maxsize=16)
def _declare(stack: str, sections: str) -> list[Resource]:
    path = REPOSITORY / f"Pulumi.{stack}.yaml"
    replaced = json.loads(sections)
    if not replaced:
        return read_declarations(str(path))
    content = yaml.safe_load(path.read_text())
    content["config"] |= {
        name if ":" in name else f"berth:{name}": value for name, value in replaced.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"Pulumi.{stack}.yaml"
        file.write_text(yaml.safe_dump(content))
        return read_declarations(str(file))


def find_resources(resources: list[Resource], kind: str) -> Iterator[Resource]:
    """Yield the resources whose type token ends with `kind`, such as `:Service`."""
    return (resource for resource in resources if resource["type"].endswith(kind))


def select(resources: list[Resource], kind: str) -> dict[str, dict[str, Any]]:
    """Return the inputs of the resources with the type token `kind`, by logical name."""
    return {one["name"]: one["inputs"] for one in resources if one["type"] == kind}
