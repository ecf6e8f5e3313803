"""The Prometheus operator's definitions of custom resources, without the operator.

The API server validates the objects and removes fields that a definition does not have.
"""

import json
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.repository import REPOSITORY

_SCHEMAS = REPOSITORY / "tests" / "unit" / "crds"
_PLURALS = {"podmonitor": "podmonitors", "prometheusrule": "prometheusrules"}


def install_definitions(cluster: Cluster) -> None:
    """Create the definitions, and wait until the API server serves them."""
    definitions = [_build(_SCHEMAS / f"{name}.json", plural) for name, plural in _PLURALS.items()]
    cluster.apply(*definitions)
    for each in definitions:
        name = f"crd/{each['metadata']['name']}"
        cluster.wait_for("--for=condition=Established", name, seconds=60)


def _build(path: Path, plural: str) -> dict[str, Any]:
    document = json.loads(path.read_text())
    group, _, version = document["apiVersion"].partition("/")
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": document["spec"]},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {"source": document["source"]}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": document["kind"],
                "listKind": f"{document['kind']}List",
                "plural": plural,
                "singular": document["kind"].lower(),
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
